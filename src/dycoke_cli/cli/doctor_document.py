"""The JSON object of `dycoke doctor`; importing it imports torch."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import psutil
import torch

from dycoke_cli.extras import installed_extras
from dycoke_cli.json_schema import Doc
from dycoke_cli.models.devices import named_device
from dycoke_cli.models.kernel_choice import Machine
from dycoke_cli.resources import free_main_memory, usable_cpus
from dycoke_cli.result import Count, Version
from dycoke_cli.tested import untested
from dycoke_cli.version import __version__, running_commit

_PACKAGES = ("torch", "torchvision", "transformers", "av")


@dataclass(frozen=True)
class Cpus:
    """The processors of this machine, and those that this process may use."""

    logical: Count
    usable: Annotated[Count, Doc("By affinity and by the quota of a container.", minimum=1)]
    affinity: Annotated[tuple[int, ...], Doc("Empty where the system has no such list.")]
    threads: Annotated[Count, Doc("Threads of torch.", minimum=1)]


@dataclass(frozen=True)
class TimedKernels:
    """The kernels that were timed for a shape."""

    shape: Annotated[str, Doc("Larger layers are timed as one of 2,048 inputs, 1,024 outputs.")]
    milliseconds: Annotated[dict[str, float], Doc("Medians, by kernel.")]
    fastest: Annotated[
        str,
        Doc(
            "A layer that prompts and generated tokens go through takes what is fastest for 1,024 "
            "and 64 of them together."
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What this machine and this installation are."""

    schema: str = "dycoke.doctor/1"
    version: Version = __version__
    commit: Annotated[str | None, Doc("Of a checkout.")]
    python: str
    packages: Annotated[dict[str, str | None], Doc("Their releases; null where one is missing.")]
    untested: Annotated[
        tuple[str, ...],
        Doc("A sentence for each release that is older or newer than those that were tested."),
    ]
    extras: Annotated[dict[str, bool], Doc("Whether the packages of each are installed.")]
    device: Annotated[str, Doc("What --device auto takes.")]
    gpus: Annotated[tuple[str, ...], Doc("The names of CUDA devices.")]
    processor: str
    instructions: Annotated[tuple[str, ...], Doc("CPU features that the kernels use.")]
    cpus: Cpus
    free_memory_bytes: Annotated[int | None, Doc("Null where the system doesn't report it.")]
    kernels: Annotated[
        tuple[TimedKernels, ...],
        Doc("Measured when models were loaded here, with this torch and as many threads."),
    ]
    kernels_file: Annotated[str | None, Doc("Where they are kept; null without a home folder.")]


def diagnose() -> Diagnosis:
    """Look at this machine; loads no model and measures nothing."""
    machine = Machine.here()
    process = psutil.Process()
    # macOS has no such lists.
    affinity = process.cpu_affinity() if hasattr(process, "cpu_affinity") else []
    try:
        file = str(machine.file)
    except RuntimeError:
        file = None
    return Diagnosis(
        commit=running_commit(),
        python=platform.python_version(),
        packages={name: _release(name) for name in _PACKAGES},
        untested=tuple(untested()),
        extras=installed_extras(),
        device=str(named_device("auto")),
        gpus=tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))),
        processor=machine.processor,
        instructions=tuple(machine.instructions),
        cpus=Cpus(
            logical=psutil.cpu_count() or 0,
            usable=usable_cpus(),
            affinity=tuple(affinity),
            threads=machine.threads,
        ),
        free_memory_bytes=free_main_memory(),
        kernels=tuple(
            TimedKernels(shape, times, min(times, key=lambda kernel: times[kernel]))
            for shape, times in sorted(machine.read().items())
        ),
        kernels_file=file,
    )


def _release(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""`dycoke doctor`: versions, device and processor."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Annotated, Literal

from packaging.requirements import Requirement
from rich.console import Group, RenderableType
from rich.text import Text

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import Count, Doc
from dycoke_cli.cli import output
from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.cli.render.figures import named
from dycoke_cli.cli.render.units import size
from dycoke_cli.errors import DycokeError, how_to_upgrade
from dycoke_cli.kernels.processor import processor_name
from dycoke_cli.resources import affinity, free_main_memory, usable_cpus
from dycoke_cli.unicode import one_line
from dycoke_cli.version import __version__, running_commit

SCHEMA = "dycoke.doctor/1"

_PACKAGES = ("torch", "torchvision", "transformers", "av")
_CPU_DTYPES = {
    "float32": "float32 on the CPU, where it fits into free memory (no fast bfloat16 instructions)",
    "bfloat16": "bfloat16 on the CPU",
}


def doctor(as_json: shared_flags.Json = False) -> None:
    """Show whether this machine is ready: versions, devices and processor.

    Examples:
        dycoke doctor
        dycoke doctor --json

    The last line is "ready: yes", or what to do first. No model is loaded.
    """
    with output.failures_as_json(as_json, SCHEMA, [{}]):
        output.show(diagnose(), as_json, table_of)


@dataclass(frozen=True)
class Cpus:
    """The processors of this machine, and those that this process may use."""

    logical: Count
    usable: Annotated[Count, Doc("By affinity and by the quota of a container.", minimum=1)]
    affinity: Annotated[tuple[int, ...], Doc("Empty where the system has no such list.")]
    threads: Annotated[Count, Doc("Threads of torch.", minimum=1)]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What this machine and this installation are."""

    schema: str = SCHEMA
    version: Version = __version__
    commit: Annotated[str | None, Doc("Of a checkout.")]
    python: str
    packages: Annotated[dict[str, str | None], Doc("Their releases; null where one is missing.")]
    device: Annotated[str, Doc("What --device auto takes.")]
    gpus: Annotated[tuple[str, ...], Doc("The names of CUDA devices.")]
    processor: str
    instructions: Annotated[tuple[str, ...], Doc("CPU features that the kernels use.")]
    cpu_dtype: Annotated[
        Literal["float32", "bfloat16"],
        Doc("What --dtype auto is for 16-bit weights on the CPU, if the memory suffices."),
    ]
    cpus: Cpus
    free_memory_bytes: Annotated[int | None, Doc("Null where the system doesn't report it.")]
    sandbox: Annotated[
        tuple[Literal["landlock", "seccomp"], ...],
        Doc("What isolates the process that reads a video; --require-sandbox needs seccomp."),
    ]
    memory_limited: Annotated[
        bool, Doc("Whether the memory of that process is limited: on Linux, if /proc is mounted.")
    ]
    to_do: Annotated[
        tuple[str, ...],
        Doc("What to do before the default model can answer; empty where all is ready."),
    ]


def diagnose() -> Diagnosis:
    """Collect the diagnosis; loads no model."""
    import psutil
    import torch

    from dycoke_cli.kernels.processor import instructions, is_slow_in_bfloat16
    from dycoke_cli.models.devices import named_device
    from dycoke_cli.processes.sandbox import limits_memory
    from dycoke_cli.video.decoder import sandbox

    has = instructions()
    return Diagnosis(
        commit=running_commit(),
        python=platform.python_version(),
        packages={name: _release(name) for name in _PACKAGES},
        device=str(named_device("auto")),
        gpus=tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))),
        processor=processor_name(),
        instructions=tuple(has),
        cpu_dtype="float32" if is_slow_in_bfloat16(has) else "bfloat16",
        cpus=Cpus(
            logical=psutil.cpu_count() or 0,
            usable=usable_cpus(),
            affinity=tuple(affinity()),
            threads=torch.get_num_threads(),
        ),
        free_memory_bytes=free_main_memory(),
        sandbox=sandbox(),
        memory_limited=limits_memory(),
        to_do=tuple(to_do()),
    )


def _release(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table_of(diagnosis: Diagnosis) -> RenderableType:
    """Table of a diagnosis; last, whether all is ready."""
    table = named((name, one_line(value)) for name, value in _rows(diagnosis))
    ready = "\n- ".join(["no", *map(one_line, diagnosis.to_do)]) if diagnosis.to_do else "yes"
    return Group(table, Text(), Text(f"ready: {ready}", style="bold"))


def _rows(found: Diagnosis) -> Iterator[tuple[str, str]]:
    from dycoke_cli.processes.sandbox import described

    cpus, free = found.cpus, found.free_memory_bytes
    yield "dycoke", found.version + (f" ({found.commit})" if found.commit else "")
    yield "Python", found.python
    for name, release in found.packages.items():
        yield name, release or "not installed"
    yield "Device", found.device + "".join(f", {name}" for name in found.gpus)
    yield "Processor", found.processor
    yield "Instructions", ", ".join(found.instructions) or "unknown"
    yield "Weight dtype", _CPU_DTYPES[found.cpu_dtype]
    yield (
        "CPUs",
        f"{cpus.usable} of {cpus.logical} usable"
        + (f" (affinity: {', '.join(map(str, cpus.affinity))})" if cpus.affinity else "")
        + f", {cpus.threads} threads",
    )
    unlimited = "" if found.memory_limited else "; its memory isn't limited, as on Linux by /proc"
    sandbox = described(found.sandbox)
    yield "Sandbox", f"{sandbox}, around the process that reads a video{unlimited}"
    yield "Free memory", "unknown" if free is None else size(free)


def to_do() -> Iterator[str]:
    """Sentences about what keeps the default model from answering, with the command that helps."""
    from dycoke_cli.models.catalog import find
    from dycoke_cli.models.files.hub import is_here
    from dycoke_cli.models.load_options import default_model
    from dycoke_cli.storage.cache_folder import ENVIRONMENT, cache_folder
    from dycoke_cli.storage.output_file import check_writable

    for name in _PACKAGES:
        if _release(name) is None:
            yield f"{name} isn't installed: {how_to_upgrade(name)}"
    for needed in map(Requirement, _requirements()):
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue  # of an extra, without which videos are answered
        installed = _release(needed.name)
        if installed and not needed.specifier.contains(installed, prereleases=True):
            yield (
                f"{needed.name} {installed} isn't supported ({needed.specifier}): "
                f"{how_to_upgrade(needed.name)}"
            )
    try:
        check_writable(cache_folder(), f"set {ENVIRONMENT} to a folder that can")
        model = default_model()
        if model is not None and not is_here(find(model)):
            yield f"{model}, the default model, isn't on this machine: dycoke models pull {model}"
    except (DycokeError, RuntimeError) as error:  # RuntimeError: there is no home folder
        yield str(error)


def _requirements() -> list[str]:
    try:
        return requires("dycoke-cli") or []
    except PackageNotFoundError:  # sources on PYTHONPATH have no metadata
        return []

"""The processor: its name, its instruction sets, and what else a measurement depends on.

Read from the system; torch is imported only where that doesn't list the instruction sets.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.resources import usable_cpus

if TYPE_CHECKING:
    import torch

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Environment:
    """Versions and hardware of a measurement."""

    python: str
    torch: str
    transformers: str
    processor: str
    cores: Annotated[int, Doc("CPU cores that the process may use.", minimum=1)]
    threads: Annotated[int, Doc("Of torch.", minimum=1)]
    accelerator: Annotated[str | None, Doc("The GPU's name, where the model runs on one.")]


def environment(device: torch.device) -> Environment:
    """The environment of this process, for a device that a model runs on."""
    import torch
    import transformers

    return Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        processor=processor_name(),
        cores=usable_cpus(),
        threads=torch.get_num_threads(),
        accelerator=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    )


def processor_name() -> str:
    """Model name of the processor; its architecture if the system has no name for it."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "arm_bf16"})
"""Instruction sets that compute bfloat16 faster than float32."""
# AVX512_BF16 of Intel's processors that have AVX512_FP16 as well (Sapphire Rapids and later): large
# products take 1.9 times as long as in float32. Beside AMX it isn't used; virtual machines may hide
# AMX. AMD's are faster in bfloat16; Cooper Lake, without AVX512_FP16, wasn't measured.
SLOW_BFLOAT16 = "slow_avx512_bf16"
_BESIDE_SLOW = "avx512_fp16"
# Names by the flags of Linux; on x86 they are those of torch.
_NAMES = {
    "asimd": "asimd",
    "avx2": "avx2",
    "avx512f": "avx512_f",
    "avx_vnni": "avx_vnni",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "bf16": "arm_bf16",
}


def instructions() -> list[str]:
    """Instruction sets of this processor that kernels use, such as "avx512_vnni".

    Empty if neither the system nor torch lists them.
    """
    try:
        told: dict[str, str] = {}
        # Only as far as the first processor: the system writes the file while it is read.
        with _CPUINFO.open(encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                told[name.strip()] = value
                if name.strip() in ("flags", "Features"):
                    break
        words = {*told.get("flags", told.get("Features", "")).split()}
        processor = told.get("vendor_id", "")
    except OSError:
        import torch

        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        names = {**_NAMES, _BESIDE_SLOW: _BESIDE_SLOW}
        words = {flag for flag, name in names.items() if capabilities.get(name)}
        processor = capabilities.get("cpu_name", "")
    slow = "Intel" in processor and _BESIDE_SLOW in words
    found = [name for flag, name in _NAMES.items() if flag in words]
    return [SLOW_BFLOAT16 if slow and name == "avx512_bf16" else name for name in found]


def emulates_bfloat16(has: Collection[str]) -> bool:
    """Whether a processor with these instruction sets computes bfloat16 in software.

    False if its instruction sets aren't known.
    """
    return is_slow_in_bfloat16(has) and SLOW_BFLOAT16 not in has


def is_slow_in_bfloat16(has: Collection[str]) -> bool:
    """Whether a processor with these instruction sets is slower in bfloat16 than in float32.

    False if its instruction sets aren't known.
    """
    return bool(has) and BFLOAT16.isdisjoint(has)

"""This machine: free main memory, usable CPUs, the processor and its instruction sets.

Read from the system; torch is imported only where that doesn't list the instruction sets.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)b", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_CPUINFO = Path("/proc/cpuinfo")
# psutil reports the whole machine; the limits of a container are those of its control groups.
_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


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


def free_main_memory() -> int | None:
    """Bytes available without swapping, within the limits of the container.

    None if the system doesn't report them.
    """
    free = [_of_machine("available"), *map(_free_in_group, _groups())]
    return min((each for each in free if each is not None), default=None)


def main_memory() -> int | None:
    """Bytes of main memory, within the limits of the container; None if unknown."""
    sizes = [_of_machine("total"), *(_limit(group / "memory.max") for group in _groups())]
    return min((each for each in sizes if each is not None), default=None)


def usable_cpus() -> int:
    """CPUs that this process may use, by affinity and by the container's quota; at least 1.

    A quota of 2.5 CPUs counts as 3.
    """
    counts = [len(affinity()) or os.cpu_count() or 1]
    for group in _groups():
        if (most := _limit(group / "cpu.max")) is not None:
            counts.append(math.ceil(most / int(_words(group / "cpu.max")[1])))
    return max(1, min(counts))


def processor_name() -> str:
    """Model name of the processor; its architecture if the system has no name for it."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def in_words(needed: int, free: int) -> str:
    """Memory requirement in words: "needs about 19 GB, 24 GB free"."""
    return f"needs about {_gigabytes(needed)}, {_gigabytes(free)} free"


def parse_size(text: str) -> int:
    """Parse a size such as `8GB` or `24 GiB` into bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"{text[:40]!r} isn't a size of memory: write 8GB or 24GiB")
    number, unit = match.groups()
    return int(float(number) * (1024 if len(unit) > 1 else 1000) ** _POWERS[unit[0].lower()])


def affinity() -> list[int]:
    """Numbers of the CPUs that this process may run on; empty if the system doesn't say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _of_machine(name: str) -> int | None:
    try:
        import psutil

        return int(getattr(psutil.virtual_memory(), name))
    except (ImportError, OSError, RuntimeError, NotImplementedError):  # or without /proc
        return None


def _groups() -> list[Path]:
    """Control groups (version 2) of this process, from its own up to the root: all have limits."""
    try:
        lines = _CGROUP.read_text().splitlines()
    except OSError:
        return []
    own = [_MOUNTED / line[3:].lstrip("/") for line in lines if line.startswith("0::")]
    # In a container the listed path may be the host's, of which only the top is mounted.
    return [path for group in own for path in (group, *group.parents) if path >= _MOUNTED]


def _words(file: Path) -> list[str]:
    """Words of a file of a control group; none if it can't be read."""
    try:
        return file.read_text().split()
    except OSError:
        return []


def _limit(file: Path) -> int | None:
    """First number of a file of a control group; None if it is unlimited or missing."""
    word = next(iter(_words(file)), "max")
    return None if word == "max" else int(word)


def _free_in_group(group: Path) -> int | None:
    most, used = _limit(group / "memory.max"), _limit(group / "memory.current")
    if most is None or used is None:
        return None
    # The page cache that the kernel reclaims under pressure counts as free.
    stat = _words(group / "memory.stat")
    cached = int(stat[stat.index("inactive_file") + 1]) if "inactive_file" in stat else 0
    return max(0, most - used + cached)


def _gigabytes(value: int) -> str:
    digits = value / 1e9
    return f"{digits:.0f} GB" if digits >= 10 else f"{digits:.1f} GB"


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

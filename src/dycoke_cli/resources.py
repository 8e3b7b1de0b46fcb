"""This machine: free main memory and usable CPUs, as the system reports them."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from dycoke_cli.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)b", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
# psutil reports the whole machine; the limits of a container are those of its control groups.
_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


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


def in_words(needed: int, free: int) -> str:
    """Memory requirement in words: "needs about 19 GB, 24 GB free"."""
    return f"needs about {_gigabytes(needed)}, {_gigabytes(free)} free"


def parse_size(text: str) -> int:
    """Parse a size such as `8GB` or `24 GiB` into bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"{text[:40]!r} isn't a size of memory: add the unit, as in 8GB")
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

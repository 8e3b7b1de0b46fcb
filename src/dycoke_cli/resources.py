"""Free main memory, usable CPUs and the processor's name, asked of the system, without torch."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from dycoke_cli.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)b", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_PROCESSOR = Path("/proc/cpuinfo")
# Control groups of Linux, whose limits psutil doesn't know.
_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")
# Of a group, by its version: its limit, what it uses, and how much of that are files which are
# given up when memory is asked for.
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def free_main_memory() -> int | None:
    """Bytes that the system can give without swapping, or that the limit of a container leaves.

    None where the system doesn't say.
    """
    rooms = [_available()]
    rooms += [_room(group, *_FILES[version]) for group, version in _groups("memory")]
    return min((room for room in rooms if room is not None), default=None)


def usable_cpus() -> int:
    """The CPUs that this process may run on, or that the quota of a container comes to; 1 or more.

    A quota of two and a half CPUs counts as three.
    """
    counts = [_listed_cpus() or 1]
    counts += [math.ceil(quota) for group in _groups("cpu") if (quota := _quota(*group))]
    return max(1, min(counts))


def is_overloaded() -> bool:
    """Whether more processes wanted to run in the last minute than the machine has CPUs.

    Times that are measured then say little. False where the system doesn't say.
    """
    try:
        import psutil

        return psutil.getloadavg()[0] > (psutil.cpu_count() or 1)
    except (ImportError, OSError):
        return False


def processor_name() -> str:
    """What the processor is called; its architecture where the system has no name for it."""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def in_words(needed: int, free: int) -> str:
    """As a person reads it: "needs about 19 GB, 24 GB free"."""
    return f"needs about {_gigabytes(needed)}, {_gigabytes(free)} free"


def parse_size(text: str) -> int:
    """Bytes of a size such as `8GB` or `24 GiB`.

    Raises:
        UsageError: the text isn't such a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"{text[:40]!r} isn't a size of memory: write 8GB or 24GiB")
    number, unit = match.groups()
    return int(float(number) * (1024 if len(unit) > 1 else 1000) ** _POWERS[unit[0].lower()])


def _listed_cpus() -> int | None:
    try:
        import psutil
    except ImportError:  # `make gpu` needs no more than transformers does
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    process = psutil.Process()
    # macOS has no such lists.
    listed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else 0
    return listed or psutil.cpu_count()


def _available() -> int | None:
    try:
        import psutil

        return int(psutil.virtual_memory().available)
    except (ImportError, OSError, RuntimeError, NotImplementedError):  # or without /proc
        return None


def _groups(controller: str) -> Iterator[tuple[Path, int]]:
    """This process's groups, from its own up to that of the machine: folders, and versions."""
    try:
        lines = _CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, place = line.split(":", 2)
        if number == "0":
            mounted, version = _MOUNTED, 2
        elif controller in controllers.split(","):
            mounted, version = _MOUNTED / controller, 1
        else:
            continue
        group = mounted / place.lstrip("/")
        # In a container the path may be that outside it, of which only the top is mounted.
        yield from ((path, version) for path in (group, *group.parents) if path >= mounted)


def _quota(folder: Path, version: int) -> float | None:
    """CPUs' worth of time, or None where a group has no limit."""
    try:
        if version == 2:
            most, period = (folder / "cpu.max").read_text().split()
        else:
            most, period = (
                (folder / name).read_text().strip()
                for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
    except OSError:
        return None
    return None if most in ("max", "-1") else int(most) / int(period)


def _room(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        most = (folder / limit).read_text().strip()
        taken = int((folder / used).read_text())
        stat = (folder / "memory.stat").read_text()
    except OSError:
        return None
    if most == "max":
        return None
    lines = (line.split() for line in stat.splitlines())
    cached = next((int(words[1]) for words in lines if words[0] == reclaimable), 0)
    return max(0, int(most) - taken + cached)


def _gigabytes(value: int) -> str:
    digits = value / 1e9
    return f"{digits:.0f} GB" if digits >= 10 else f"{digits:.1f} GB"

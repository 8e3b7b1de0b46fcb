"""Main memory that is free and CPUs that may be used, asked of the system; torch isn't needed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def free_main_memory() -> int | None:
    """Bytes that the system can give without swapping, or that the limit of a container leaves.

    None where nobody says.
    """
    rooms = [room for room in (_available(), *_cgroup_rooms()) if room is not None]
    return min(rooms, default=None)


def _available() -> int | None:
    if not _MEMINFO.exists():  # not Linux
        return None
    lines = (line.split() for line in _MEMINFO.read_text().splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), None)


def usable_cpus() -> int:
    """CPUs that this process may use: those it is bound to, or fewer by a container's limit."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shares = [share for share in _cgroup_shares() if share is not None]
    return max(1, min([bound or 1, *(math.ceil(share) for share in shares)]))


def _cgroup_rooms() -> list[int | None]:
    """What the limits of this process's groups leave, from its own up to that of the machine."""
    names = ("memory.max", "memory.current", "inactive_file")
    names_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return [
        _room(folder, *(names if unified else names_1)) for unified, folder in _groups("memory")
    ]


def _cgroup_shares() -> list[float | None]:
    """CPUs that the limits of this process's groups allow, in time per time."""
    return [_share(unified, folder) for unified, folder in _groups("cpu")]


def _groups(controller: str) -> Iterator[tuple[bool, Path]]:
    """Folders of this process's groups, and whether each is of version 2."""
    if not _CGROUP.exists():
        return
    for line in _CGROUP.read_text().splitlines():
        number, controllers, place = line.split(":", 2)
        unified = number == "0"
        if not unified and controller not in controllers.split(","):
            continue
        mounted = _MOUNTED if unified else _MOUNTED / controller
        group = mounted / place.lstrip("/")
        # In a container the path may be that outside it, of which only the top is mounted.
        for folder in (group, *group.parents):
            if folder >= mounted:
                yield unified, folder


def _share(unified: bool, folder: Path) -> float | None:
    try:
        if unified:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
    except OSError:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def _room(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        most = (folder / limit).read_text().strip()
        taken = int((folder / used).read_text())
        stat = (folder / "memory.stat").read_text()
    except OSError:
        return None
    if most == "max":
        return None
    # Files that were read count as used, and are given up when memory is asked for.
    lines = (line.split() for line in stat.splitlines())
    cached = next((int(words[1]) for words in lines if words[0] == reclaimable), 0)
    return max(0, int(most) - taken + cached)

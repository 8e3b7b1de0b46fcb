"""How much main memory is left, asked of the files that the system keeps; torch isn't needed."""

from __future__ import annotations

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


def _cgroup_rooms() -> list[int | None]:
    """What the limits of this process's groups leave, from its own up to that of the machine."""
    if not _CGROUP.exists():
        return []
    rooms = []
    for line in _CGROUP.read_text().splitlines():
        number, controllers, place = line.split(":", 2)
        if number == "0":
            mounted, names = _MOUNTED, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mounted = _MOUNTED / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = mounted / place.lstrip("/")
        # In a container the path may be that outside it, of which only the top is mounted.
        rooms += [_room(folder, *names) for folder in (group, *group.parents) if folder >= mounted]
    return rooms


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

"""How much main memory is left; torch isn't needed."""

from __future__ import annotations

from pathlib import Path

import psutil

from dycoke_cli.models.cgroups import groups

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
    rooms += [_room(group, *_FILES[version]) for group, version in groups("memory")]
    return min((room for room in rooms if room is not None), default=None)


def in_words(needed: int, free: int) -> str:
    """As a person reads it: "needs about 19 GB, 24 GB free"."""
    return f"needs about {_gigabytes(needed)}, {_gigabytes(free)} free"


def _available() -> int | None:
    try:
        return int(psutil.virtual_memory().available)
    except (OSError, RuntimeError, NotImplementedError):  # a sandbox without /proc
        return None


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

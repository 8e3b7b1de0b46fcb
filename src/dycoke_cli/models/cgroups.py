"""The control groups of this process on Linux, whose limits psutil doesn't know."""

from __future__ import annotations

from pathlib import Path

_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def groups(controller: str) -> list[tuple[Path, int]]:
    """The folders of this process's groups, from its own up to that of the machine.

    Args:
        controller: "memory" or "cpu".

    Returns:
        Each with its version of control groups, 1 or 2; none where there are no such groups.
    """
    try:
        lines = _CGROUP.read_text().splitlines()
    except OSError:
        return []
    found = []
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
        found += [(path, version) for path in (group, *group.parents) if path >= mounted]
    return found

"""Free main memory, usable CPUs and processor name, read from the system without torch."""

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
# psutil reports the whole machine; the limits of a container are those of its control groups.
_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")
# By cgroup version: the files with the memory limit and the usage, and the counter of page cache
# that the kernel reclaims under pressure, which therefore counts as free.
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def free_main_memory() -> int | None:
    """Bytes available without swapping, within the limits of the container.

    None if the system doesn't report them.
    """
    free = [_of_machine("available")]
    free += [_free_in_group(group, *_FILES[version]) for group, version in _groups("memory")]
    return min((each for each in free if each is not None), default=None)


def main_memory() -> int | None:
    """Bytes of main memory, within the limits of the container; None if unknown."""
    sizes = [_of_machine("total")]
    sizes += [_limit(group / _FILES[version][0]) for group, version in _groups("memory")]
    return min((each for each in sizes if each is not None), default=None)


def usable_cpus() -> int:
    """CPUs that this process may use, by affinity and by the container's quota; at least 1.

    A quota of 2.5 CPUs counts as 3.
    """
    counts = [len(affinity()) or os.cpu_count() or 1]
    counts += [math.ceil(quota) for group in _groups("cpu") if (quota := _quota(*group))]
    return max(1, min(counts))


def is_overloaded() -> bool:
    """Whether the load average of the last minute exceeds the number of CPUs.

    Times measured under such load are unreliable. False if the system doesn't report it.
    """
    try:
        import psutil

        return psutil.getloadavg()[0] > (psutil.cpu_count() or 1)
    except (ImportError, OSError):
        return False


def processor_name() -> str:
    """Model name of the processor; its architecture if the system has no name for it."""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8").splitlines()
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
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    import psutil

    process = psutil.Process()
    # macOS has none.
    return [*process.cpu_affinity()] if hasattr(process, "cpu_affinity") else []


def _of_machine(name: str) -> int | None:
    try:
        import psutil

        return int(getattr(psutil.virtual_memory(), name))
    except (ImportError, OSError, RuntimeError, NotImplementedError):  # or without /proc
        return None


def _groups(controller: str) -> Iterator[tuple[Path, int]]:
    """Control groups of this process, from its own up to the root: folder and cgroup version.

    Every level is needed, because a limit of any ancestor applies.
    """
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
        # In a container the listed path may be the host's, of which only the top is mounted.
        yield from ((path, version) for path in (group, *group.parents) if path >= mounted)


def _quota(folder: Path, version: int) -> float | None:
    """CPU time per wall time that a group may use, in CPUs; None if unlimited."""
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


def _limit(file: Path) -> int | None:
    """Bytes that a group may use; None if unlimited."""
    try:
        most = file.read_text().strip()
    except OSError:
        return None
    return None if most == "max" else int(most)


def _free_in_group(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    if (most := _limit(folder / limit)) is None:
        return None
    try:
        usage = int((folder / used).read_text())
        stat = (folder / "memory.stat").read_text()
    except OSError:
        return None
    lines = (line.split() for line in stat.splitlines())
    cached = next((int(words[1]) for words in lines if words[0] == reclaimable), 0)
    return max(0, most - usage + cached)


def _gigabytes(value: int) -> str:
    digits = value / 1e9
    return f"{digits:.0f} GB" if digits >= 10 else f"{digits:.1f} GB"

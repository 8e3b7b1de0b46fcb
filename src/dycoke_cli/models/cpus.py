"""How many CPUs this process may use."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

from dycoke_cli.models.cgroups import groups


def usable_cpus() -> int:
    """The CPUs that this process may run on, or that the quota of a container comes to; 1 or more.

    A quota of two and a half CPUs counts as three.
    """
    process = psutil.Process()
    # macOS has no such lists.
    listed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else 0
    counts = [listed or psutil.cpu_count() or 1]
    counts += [math.ceil(quota) for group in groups("cpu") if (quota := _quota(*group))]
    return max(1, min(counts))


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

"""Resident memory of this process, and its peak; Linux alone tells it. Needs nothing but Python."""

from __future__ import annotations

from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """From now on `peak` counts anew, from what is resident at this moment."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def peak() -> int | None:
    """Bytes resident at the worst moment since `forget_peak`; None where Linux doesn't say."""
    return _read("VmHWM")


def held() -> int | None:
    """Bytes resident now; None where Linux doesn't say."""
    return _read("VmRSS")


def _read(name: str) -> int | None:
    if not _CLEAR.exists():
        return None
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

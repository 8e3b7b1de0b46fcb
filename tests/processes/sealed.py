"""What Linux says of a process that has sealed itself."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest


def status_of(pid: int) -> dict[str, str]:
    """What /proc says of a process; skips the test where no filter is known."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (one.partition(":") for one in lines)}
    if "Seccomp" not in status or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no filter for this kernel, or for this architecture")
    return status


def assert_sealed(pid: int) -> None:
    """Check that a process has a filter of system calls, and can get no privileges."""
    status = status_of(pid)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")

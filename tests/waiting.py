"""Waits for what happens elsewhere: in another thread, or in another process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_POLL_S = 0.02
_T = TypeVar("_T")


def until(condition: Callable[[], _T], seconds: float = 240, what: object = "it") -> _T:
    """Wait until a condition holds; what it gave then.

    Raises:
        AssertionError: it didn't hold within so many seconds. The error names `what`.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} didn't come within {seconds} s"
        time.sleep(_POLL_S)
    return found


def until_gone(*processes: int, seconds: float = 240) -> None:
    """Wait until there is none of these processes, not even as one that was never waited for."""
    paths = [Path(f"/proc/{process}") for process in processes]
    until(lambda: not any(path.exists() for path in paths), seconds, f"the end of {processes}")

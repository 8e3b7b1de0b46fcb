"""What the work for a request may take before the model answers: time and pixels."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from dycoke_cli.errors import VideoError


class Allowance:
    """What reading the videos of one request may take; `end` ends it early.

    A context manager, within which the time counts.

    Attributes:
        begun: whether the block has begun.
        pixels: see above.
    """

    def __init__(self, seconds: float, pixels: int) -> None:
        self._seconds, self._ends_at = seconds, math.inf
        self.begun = False
        self.pixels = pixels
        self._reason: Exception | None = None
        self._stop: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.begun, self._ends_at = True, time.monotonic() + self._seconds
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def left_s(self) -> float:
        """Seconds that are left, above 0."""
        self.check()
        return self._ends_at - time.monotonic()

    def check(self) -> None:
        """Check that the work may go on."""
        if self._reason is not None:
            raise self._reason
        if time.monotonic() >= self._ends_at:
            raise VideoError(
                f"the videos of the request aren't read after {self._seconds:g} s: send fewer or "
                "shorter ones, or raise --time-limit of the server"
            )

    def end(self, reason: Exception) -> None:
        """End the work, from any thread: in its own, the reason is raised."""
        with self._lock:
            self._reason = self._reason or reason
            stop = self._stop
        if stop is not None:
            stop()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Have `end` call a function while the block waits for something.

        Args:
            stop: ends the wait, by an error in the block; called from another thread.
        """
        with self._lock:
            self.check()
            self._stop = stop
        try:
            yield
            self.check()  # what was stopped may look complete
        except Exception:
            self.check()
            raise
        finally:
            with self._lock:
                self._stop = None

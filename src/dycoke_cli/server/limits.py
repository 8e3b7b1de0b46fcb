"""Limits on what requests take: their number, bodies, reading of videos, and what is held."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request

from dycoke_cli.errors import VideoError
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused

_USUAL_S = 1.0  # of an answer, until one was measured
_LONGEST_S = 60
_JSON_BYTES = 64 * 1024**2
_FREE_BYTES = 64 * 1024

T = TypeVar("T")


def sender_of(http: Request) -> Hashable:
    """Who has a share of what is limited: a key, at an address."""
    return http.state.owner, http.client and http.client.host


class Admission:
    """Counts the requests that wait or are being answered, and the bytes of bodies that come in."""

    def __init__(
        self,
        most: int,
        most_bytes: int,
        metrics: Metrics,
        most_json_bytes: int = _JSON_BYTES,
        free_bytes: int = _FREE_BYTES,
    ) -> None:
        self._most, self._metrics = most, metrics
        self._most_bytes, self._most_json_bytes = most_bytes, most_json_bytes
        self._free_bytes = free_bytes
        self._json = self._media = 0
        self.active = 0

    def check(self) -> None:
        """Check that there is room for a request before its body is received."""
        if self.active >= self._most:
            raise self._too_many(f"{self.active} requests wait already")

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request for the length of the block."""
        self.check()
        self.active += 1
        self._metrics.add("requests_active")
        try:
            yield
        finally:
            self.active -= 1
            self._metrics.add("requests_active", -1)

    @contextmanager
    def receiving(self) -> Iterator[Callable[[int, int], None]]:
        """Count the bytes of a body for the length of the block.

        Yields:
            What is called with the bytes of its JSON text and of its videos so far. It raises
            Refused where they are too many with those of other requests.
        """
        json = media = 0

        def count(json_bytes: int, media_bytes: int) -> None:
            nonlocal json, media
            counted = max(0, json_bytes - self._free_bytes)
            self._json += counted - json
            self._media += media_bytes - media
            json, media = counted, media_bytes
            if (json and self._json > self._most_json_bytes) or (
                media and self._media > self._most_bytes
            ):
                raise self._too_many("requests with large bodies come in already")

        try:
            yield count
        finally:
            self._json -= json
            self._media -= media

    def _too_many(self, what: str) -> Refused:
        each = self._metrics.mean("answer_seconds") or _USUAL_S
        seconds = min(_LONGEST_S, max(1, math.ceil(self.active * each / 2)))
        return Refused(
            f"{what}; come back in {seconds} s",
            status=429,
            code="too_many_requests",
            headers={"Retry-After": str(seconds)},
        )


class Shares:
    """Threads for what may take long; whoever sends requests has a share of them.

    Args:
        threads: of all senders together.
        each: of one.
    """

    def __init__(self, threads: int, each: int) -> None:
        self._all, self._each = CapacityLimiter(threads), each
        self._shares = WeakValueDictionary[Hashable, asyncio.Semaphore]()

    async def run(self, sender: Hashable, work: Callable[[], T]) -> T:
        """Call a function in such a thread, when it is the sender's turn."""
        share = self._shares.get(sender) or asyncio.Semaphore(self._each)
        self._shares[sender] = share
        async with share:
            return await run_sync(work, limiter=self._all)


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
        self._reason = self._reason or reason

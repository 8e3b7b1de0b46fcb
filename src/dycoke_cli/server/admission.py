"""Limits on concurrent requests; one too many gets 429 and the seconds to wait."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused

_USUAL_S = 1.0  # of an answer, until one was measured
_LONGEST_S = 60


class Admission:
    """Counts the requests that wait or are being answered, and the bytes of their bodies.

    Args:
        most: requests.
        most_bytes: of all their bodies together.
        metrics: where they are shown.
    """

    def __init__(self, most: int, most_bytes: int, metrics: Metrics) -> None:
        self._most, self._most_bytes, self._metrics = most, most_bytes, metrics
        self._bytes = 0
        self.active = 0

    @contextmanager
    def admitted(self, nbytes: int) -> Iterator[None]:
        """Count a request with a body of so many bytes, for the length of the block.

        Raises:
            Refused: there are too many, with the seconds after which there is likely to be room.
        """
        if self.active >= self._most or self._bytes + nbytes > self._most_bytes:
            each = self._metrics.mean("answer_seconds") or _USUAL_S
            seconds = min(_LONGEST_S, max(1, math.ceil(self.active * each / 2)))
            raise Refused(
                429,
                f"{self.active} requests wait already; come back in {seconds} s",
                "too_many_requests",
                {"Retry-After": str(seconds)},
            )
        self._count(1, nbytes)
        try:
            yield
        finally:
            self._count(-1, -nbytes)

    def _count(self, requests: int, nbytes: int) -> None:
        self.active += requests
        self._bytes += nbytes
        self._metrics.set("requests_active", self.active)

"""The requests under way, which end with the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dycoke_cli.server.refused import Refused

_End = Callable[[Exception], None]


class Underway:
    """Requests of one server; all in the event loop's thread."""

    def __init__(self) -> None:
        self._ends: set[_End] = set()
        self._ended = False

    @contextmanager
    def added(self, end: _End) -> Iterator[None]:
        """Have a request ended with the server, as long as the block lasts."""
        self._ends.add(end)
        try:
            if self._ended:
                end(_ending())
            yield
        finally:
            self._ends.discard(end)

    def end(self) -> None:
        """End all, and those to come."""
        self._ended = True
        for end in [*self._ends]:
            end(_ending())


def _ending() -> Refused:
    return Refused(503, "the server ends; send the request again", "ending")

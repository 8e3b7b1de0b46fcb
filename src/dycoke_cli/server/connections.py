"""Limits on connections: idle and slow ones are closed, so that a new one always gets in.

uvicorn answers 503 to everyone once it has as many connections as it may. Here, the connection that
has kept the server waiting longest is closed instead.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# The size of a chunk below 256 bytes, as `Transfer-Encoding: chunked` has it.
_SMALL_CHUNK = re.compile(rb"\r\n0*[0-9a-fA-F]{1,2}[ \t]*(?:;[^\r\n]*)?\r\n")


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits on connections over TCP."""

    most: int = 256  # open at once
    most_per_address: int = 128  # of them, from one IP address
    # seconds in which the header of a request must have come, counted from the start of the
    # connection or from the end of the request before
    header_s: float = 10.0
    write_s: float = 30.0  # seconds in which a client must take what is sent to it
    # of a body, in what is received at once: each takes as long as a large one
    most_small_chunks: int = 1000


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol of a connection, within limits.

    Args:
        has_key: whether the headers of a request bring an API key. While such a request comes in,
            connections without a key are closed in its place.
    """

    def __init__(
        self,
        *,
        limits: ConnectionLimits,
        has_key: Callable[[list[tuple[bytes, bytes]]], bool],
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._limits, self._has_key = limits, has_key
        self._header: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None
        self._trusted = False
        self.waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and close the connections that are too many."""
        super().connection_made(transport)
        self._wait_for_header()
        limits = self._limits
        if len(self.connections) <= min(limits.most, limits.most_per_address):
            return
        others = [
            each
            for each in self.connections
            if isinstance(each, LimitedProtocol) and each is not self
        ]
        own = [each for each in others if each.address == self.address]
        if len(own) >= limits.most_per_address:
            _close_longest_waiting(own)
        elif len(others) >= limits.most:
            _close_longest_waiting(others)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget(self._header, self._write)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has come, unless it is a body in very many very small chunks."""
        most = self._limits.most_small_chunks
        if next(islice(_SMALL_CHUNK.finditer(data), most, None), None):
            self.shut()
            return
        super().data_received(data)

    def handle_events(self) -> None:
        """Begin a request whose header has come."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._trusted = self._has_key(self.headers)
            self._forget(self._header)

    def on_response_complete(self) -> None:
        """The answer is sent: wait for the next request."""
        self._wait_for_header()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client doesn't take what is sent."""
        super().pause_writing()
        self._write = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client takes more."""
        super().resume_writing()
        self._forget(self._write)

    @property
    def address(self) -> str | None:
        """IP address of the client."""
        return self.client[0] if self.client else None

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_receiving(self) -> bool:
        """Whether the body of a request is still to come."""
        return not self.is_idle and self.cycle.more_body

    @property
    def order(self) -> tuple[bool, float] | None:
        """The least of all is closed first; None while the client waits for the server."""
        if self.is_idle:
            return False, self.waiting_since
        return (self._trusted, self.waiting_since) if self.cycle.more_body else None

    def shut(self) -> None:
        """Close it at once."""
        self.connections.discard(self)
        self.transport.abort()

    def _wait_for_header(self) -> None:
        self._forget(self._header)
        self.waiting_since = self.loop.time()
        self._header = self.loop.call_later(self._limits.header_s, self.transport.close)

    @staticmethod
    def _forget(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()


def _close_longest_waiting(connections: list[LimitedProtocol]) -> None:
    waiting = [(order, each) for each in connections if (order := each.order) is not None]
    if waiting:
        min(waiting, key=lambda pair: pair[0])[1].shut()

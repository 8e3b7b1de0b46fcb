"""Starting and stopping the server: address, connections, signals, idle time.

uvicorn answers 503 to everyone once it has as many connections as it may. Here, the connection that
has kept the server waiting longest is closed instead.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.server.access import KEY, LOOPBACK, Access, key_of
from dycoke_cli.server.local.local_server import LocalServer
from dycoke_cli.server.local.unix_socket import LocalListener
from dycoke_cli.server.routes import make_app
from dycoke_cli.server.service import Service, Underway

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
        connections = cast("set[LimitedProtocol]", self.connections)
        others = [each for each in connections if each is not self]
        own = [each for each in others if each.address == self.address]
        if len(own) >= self._limits.most_per_address:
            _close_longest_waiting(own)
        elif len(others) >= self._limits.most:
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


_BACKLOG = 128
_IDLE_LOOK_S, _POLL_S = 1.0, 0.05
# At the end: seconds in which answers may be completed, in which all others are refused, and after
# which the process ends whatever it does.
_GRACE_S, _REPLY_S, _END_S = 2, 1, 4.8


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    host: str  # a name or an address of this machine
    port: int  # 0 for any that is free
    keys: tuple[str, ...] = ()  # of which requests must bring one, if there are any
    origins: frozenset[str] = frozenset()  # of web pages that may ask

    def __post_init__(self) -> None:
        if not self.keys and self.host not in LOOPBACK:
            raise UsageError(
                f"--host {self.host} lets other machines ask: set an API key in {KEY}, or leave it "
                "out"
            )

    def bind(self) -> socket.socket:
        """The socket, listening."""
        try:
            family, kind, _, _, where = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM
            )[0]
            listening = socket.socket(family, kind)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"{self.host}:{self.port} can't be listened at ({reason}); choose another --port"
            ) from error
        return listening


def make_server(service: Service, address: Address, limits: ConnectionLimits) -> EndingServer:
    """The server, which doesn't listen yet."""
    app: Any = Access(
        make_app(service),
        address.keys,
        lambda status: service.metrics.add("requests_total", status=str(status)),
        address.origins,
    )
    if address.origins:
        # Outside: a browser sends no key with the request by which it asks whether it may.
        app = CORSMiddleware(
            app, [*address.origins], allow_methods=("GET", "POST"), allow_headers=("*",)
        )
    protocol = partial(
        LimitedProtocol,
        limits=limits,
        has_key=lambda headers: key_of(Headers(raw=headers), address.keys) is not None,
    )
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Accepted at once: above, they would be open before any limit is looked at.
        backlog=_BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_GRACE_S + _REPLY_S,
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    return EndingServer(config, service.underway, LocalServer(service))


class EndingServer(uvicorn.Server):
    """uvicorn's server, which ends in a few seconds whatever is under way.

    Attributes:
        local: answers the user's commands beside it.
    """

    def __init__(self, config: uvicorn.Config, underway: Underway, local: LocalServer) -> None:
        super().__init__(config)
        self._underway, self.local = underway, local

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end, after a signal."""
        super().handle_exit(sig, frame)
        # Its thread needs no lock of the interpreter, which a library may hold.
        silent = open(os.devnull, "w")  # noqa: SIM115 (open until the end)
        faulthandler.dump_traceback_later(_END_S, exit=True, file=silent)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers under way be completed, then end them."""
        loop = asyncio.get_running_loop()
        self.local.shut()
        loop.call_later(_GRACE_S, self._underway.end)
        loop.call_later(_GRACE_S, self.local.hang_up)
        loop.call_later(_GRACE_S + _REPLY_S / 2, self._hang_up)
        for connection in self._connections():
            if connection.is_receiving:
                connection.shut()
        await super().shutdown(sockets)
        while self.local.is_busy:
            await asyncio.sleep(_POLL_S)

    def _hang_up(self) -> None:
        """Close the connections of clients that don't take their replies."""
        for connection in self._connections():
            connection.shut()

    def _connections(self) -> list[LimitedProtocol]:
        return [*cast("set[LimitedProtocol]", self.server_state.connections)]


def run(
    server: EndingServer,
    service: Service,
    listening: socket.socket,
    local: LocalListener,
    idle_s: float | None,
) -> None:
    """Answer requests until a signal or `should_exit`.

    Args:
        idle_s: seconds without a request after which the model is unloaded; None for never.
    """
    over = threading.Event()
    looking = threading.Thread(
        target=_watch_idle, args=(service, idle_s, over), name="idle", daemon=True
    )
    service.engine.start()
    looking.start()
    if local.listening is not None:
        server.local.begin(local.listening)
    try:
        asyncio.run(server.serve([listening]))
    finally:
        over.set()
        service.engine.close()


def _watch_idle(service: Service, idle_s: float | None, over: threading.Event) -> None:
    """Unload the model once nobody has asked for long enough."""
    while idle_s is not None and not over.wait(min(_IDLE_LOOK_S, idle_s)):
        if not service.admission.active and service.engine.idle_s >= idle_s:
            service.engine.unload()

"""Starting and stopping the server: address, sockets, signals, idle time."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import socket
import threading
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.server.access import KEY, LOOPBACK, Access, key_of, named
from dycoke_cli.server.connections import ConnectionLimits, LimitedProtocol
from dycoke_cli.server.local.local_listener import LocalListener
from dycoke_cli.server.local.local_server import LocalServer
from dycoke_cli.server.routes import make_app
from dycoke_cli.server.service import Service
from dycoke_cli.server.underway import Underway

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


@dataclass(frozen=True)
class IdlePolicy:
    """What happens to a server without requests."""

    after_s: float | None = None  # seconds; None for never
    ends: bool = False  # whether the server ends; otherwise its model is unloaded


def make_server(service: Service, address: Address, limits: ConnectionLimits) -> EndingServer:
    """The server, which doesn't listen yet."""

    def stop() -> None:
        server.should_exit = True

    app = make_app(service, bool(address.keys))
    protocol = partial(
        LimitedProtocol,
        limits=limits,
        has_key=lambda headers: key_of(named(headers), address.keys) is not None,
    )
    config = uvicorn.Config(
        Access(
            app,
            address.keys,
            lambda status: service.metrics.add("requests_total", status=str(status)),
            address.origins,
        ),
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
    server = EndingServer(config, service.underway, LocalServer(service, stop))
    return server


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
        found = [*self.server_state.connections]
        return [one for one in found if isinstance(one, LimitedProtocol)]


def run(
    server: EndingServer,
    service: Service,
    listening: socket.socket,
    local: LocalListener,
    idling: IdlePolicy,
) -> None:
    """Answer requests until a signal, `should_exit`, or a long enough time without requests."""
    over = threading.Event()
    looking = threading.Thread(
        target=_watch_idle, args=(service, server, idling, over), name="idle", daemon=True
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


def _watch_idle(
    service: Service, server: uvicorn.Server, idling: IdlePolicy, over: threading.Event
) -> None:
    """End the server, or unload its model, once nobody has asked for long enough."""
    while idling.after_s is not None and not over.wait(min(_IDLE_LOOK_S, idling.after_s)):
        if service.admission.active or service.engine.idle_s < idling.after_s:
            continue
        if idling.ends:
            server.should_exit = True
            return
        service.engine.unload()

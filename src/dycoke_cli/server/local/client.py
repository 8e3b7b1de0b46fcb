"""A command's end of the unix socket: the running server answers its questions, or is stopped."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from collections import deque
from collections.abc import Hashable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any

from dycoke_cli.ask import Answered, Ask, Event, Failed, Seen
from dycoke_cli.errors import OutputError
from dycoke_cli.loop.asker import Asker, AskerEndedError, check_answerable
from dycoke_cli.loop.pending import Client, Pending, Receive
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.request import Request
from dycoke_cli.server.local.unix_socket import connect, socket_identity
from dycoke_cli.server.local.wire import (
    ASK,
    STOP,
    CommandSetup,
    Link,
    as_sent,
    code,
    in_the_words_of,
)
from dycoke_cli.storage.output_file import temporary_folder
from dycoke_cli.video.files import spool

_REPLY_S = 3.0  # a server that doesn't even respond within that time is stuck
_STOP_TIMEOUT_S = 30.0  # a stopping server finishes the answer under way
_POLL_S, _WAIT_S = 0.02, 0.2
_SILENT = (EOFError, OSError, pickle.UnpicklingError)
"""Of a server that is stuck, dies, or is an older one."""


def find_server(
    request: Request, *, cache: bool = False, bulk: bool = False, batch_size: int | None = None
) -> ServerAsker | str:
    """The running server, if it can answer questions exactly as this process would.

    Args:
        batch_size: questions that are answered together; None lets the server choose.

    Returns:
        What answers them; or the reason why the server can't, "" if none is running.
    """
    connected = connect()
    if connected is None:
        return ""
    with ExitStack() as stack:
        link = stack.enter_context(closing(Link(connected)))
        setup = CommandSetup.of(request, cache, bulk, batch_size)
        try:
            link.send((ASK, code(), pickle.dumps(setup)))
            reason: str = link.receive(_REPLY_S)
            if reason:
                return reason
            plan = link.receive()  # its model may have to be loaded first
        except _SILENT:
            return "it didn't answer"
        if isinstance(plan, Exception):
            raise plan
        return ServerAsker(plan, link, stack.pop_all())


class ServerAsker(Asker):
    """Has the running server of this user answer."""

    def __init__(self, plan: RunPlan | None, link: Link, opened: ExitStack) -> None:
        self._plan, self._link, self._opened = plan, link, opened
        self._numbers = itertools.count()
        self._pending: dict[int, Pending] = {}
        self._events: deque[tuple[int, Event]] = deque()
        self._seen: set[Hashable] = set()
        self._stdin: str | None = None
        self._run: Client | None = None
        self._ended = False
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._receive, name="server", daemon=True)
        self._thread.start()

    def plan(self, **more: Any) -> RunPlan:
        """The plan of a run that the server answers; `more` are other fields of `RunPlan`."""
        assert self._plan is not None, "it was asked for with `bulk`"
        return replace(self._plan, **more)

    def submit(
        self,
        *asks: Ask,
        client: Client | None = None,
        on_event: Receive | None = None,
        streams: bool = True,
        **local: object,
    ) -> list[Pending]:
        """See `Asker.submit`; the other arguments are for an engine of the process itself."""
        check_answerable("a running server", **local)
        client = client or Client()
        pendings = [
            Pending(self, ask, client, on_event, streams=streams, work=None, refuse=None)
            for ask in asks
        ]
        for pending in pendings:
            sent = as_sent(pending.ask, self._spooled)
            with self._changed:
                number = next(self._numbers)
                self._pending[number] = pending
                self._run = client if client.bulk else None
            self._send("ask", number, (sent, streams))
        return pendings

    def advance(self) -> None:
        """See `Asker.advance`: deliver what the server sent, or wait for it a moment."""
        if self._run is not None and self._run.is_over:
            self._run = None
            self._send("over")
        with self._changed:
            if not self._events:
                if self._ended:
                    resumed = "" if self._plan is None else ": --out has what was answered"
                    raise AskerEndedError(
                        f"the server ended while it answered; run it again{resumed}"
                    )
                self._changed.wait(_WAIT_S)
            events, self._events = self._events, deque()
        # Here, as the engine of a process does it: what a receiver raises ends the command.
        for number, event in events:
            self._deliver(number, event)

    def holds(self, ask: Ask, *, decoded: bool = False) -> bool:
        """See `Asker.holds`."""
        return ask.read in self._seen

    def free(self) -> bool:
        """See `Asker.free`; of the server, what it has for this command."""
        self._send("free")
        return False

    def forget(self, pending: Pending) -> None:
        """See `Asker.forget`."""
        with self._changed:
            number = next((n for n, one in self._pending.items() if one is pending), None)
            self._pending.pop(number, None)  # type: ignore[arg-type]
        if number is not None:
            self._send("cancel", number)

    def leave(self, client: Client) -> None:
        """See `Asker.leave`; the server knows which questions wait."""
        with self._changed:
            waits = any(one.client is client for one in self._pending.values())
        if waits:
            self._send("leave")

    def videos_of(self, client: Client) -> int:
        """See `Asker.videos_of`."""
        with self._changed:
            return len({one.ask.read for one in self._pending.values() if one.client is client})

    def close(self) -> None:
        """See `Asker.close`."""
        self._opened.close()
        self._thread.join()

    def _spooled(self) -> str:
        """Path of a file with the video that comes from stdin, which is read once."""
        if self._stdin is None:
            path = self._opened.enter_context(temporary_folder()) / "stdin"
            with path.open("wb") as file:
                spool(file)
            self._stdin = str(path)
        return self._stdin

    def _send(self, what: str, number: int | None = None, value: object = None) -> None:
        with suppress(OSError):  # the thread that receives notices
            self._link.send((what, number, value))

    def _receive(self) -> None:
        """Take events as they come, until none does; the body of the thread."""
        with suppress(*_SILENT):
            while True:
                event = self._link.receive()
                with self._changed:
                    self._events.append(event)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _deliver(self, number: int, event: Event) -> None:
        with self._changed:
            pending = self._pending.get(number)
            if isinstance(event, (Answered, Failed)):
                self._pending.pop(number, None)
        if pending is not None:
            if isinstance(event, Seen):
                self._seen.add(pending.ask.read)
            pending.send(in_the_words_of(pending.ask, event))


def stop_running() -> bool:
    """Stop the running server and wait for its end; returns whether there was one."""
    connected = connect()
    if connected is None:
        return False
    stuck = OutputError("the server doesn't end; end its process by hand")
    before = socket_identity()
    with closing(Link(connected)) as link:
        try:
            link.send((STOP, code(), b""))
            link.receive(_REPLY_S)
        except _SILENT:
            raise stuck from None
    until = time.monotonic() + _STOP_TIMEOUT_S
    # The server removes its socket last; another server may have made its own there by now.
    while before is not None and socket_identity() == before:
        if time.monotonic() > until:
            raise stuck
        time.sleep(_POLL_S)
    return True

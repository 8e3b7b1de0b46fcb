"""A command's end of the unix socket: the running server answers its questions."""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Hashable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any

from dycoke_cli import Answered, Ask, Event, Failed, Request, Seen
from dycoke_cli.errors import DycokeError
from dycoke_cli.loop.asker import Asker, AskerEndedError, Client, Pending
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.plugins import running_code
from dycoke_cli.server.local.unix_socket import connect
from dycoke_cli.server.local.wire import (
    STATUS,
    CommandSetup,
    Link,
    ServerStatus,
    as_sent,
    in_the_words_of,
)
from dycoke_cli.storage.output_file import temporary_folder
from dycoke_cli.video.files import spool

_REPLY_S = 3.0  # a server that doesn't even respond within that time is stuck
_WAIT_S = 0.2
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
            link.send((running_code(), pickle.dumps(setup)))
            reason: str = link.receive(_REPLY_S)
            if reason:
                return reason
            plan = link.receive()  # its model may have to be loaded first
        except _SILENT:
            return "it didn't answer"
        if isinstance(plan, Exception):
            raise plan
        return ServerAsker(plan, link, stack.pop_all())


def server_status() -> ServerStatus:
    """State of the running server.

    Raises:
        DycokeError: none is running, or it doesn't say.
    """
    if (connected := connect()) is None:
        raise DycokeError("no server of yours is running; `dycoke serve` starts one")
    with closing(Link(connected)) as link:
        try:
            link.send((running_code(), pickle.dumps(STATUS)))
            found = link.receive(_REPLY_S)
        except _SILENT:
            found = "it didn't answer"
    if not isinstance(found, ServerStatus):
        raise DycokeError(f"a server of yours is running, and {found}; end it, and start it again")
    return found


class ServerAsker(Asker):
    """Has the running server of this user answer; the server knows which questions wait there."""

    elsewhere = "a running server"

    def __init__(self, plan: RunPlan | None, link: Link, opened: ExitStack) -> None:
        super().__init__()
        self._plan, self._link, self._opened = plan, link, opened
        self._events = queue.SimpleQueue[tuple[int, Event] | None]()  # None is the end
        self._seen: set[Hashable] = set()
        self._stdin: str | None = None
        self._run: Client | None = None
        self._thread = threading.Thread(target=self._receive, name="server", daemon=True)
        self._thread.start()

    def plan(self, **more: Any) -> RunPlan:
        """The plan of a run that the server answers; `more` are other fields of `RunPlan`."""
        assert self._plan is not None, "it was asked for with `bulk`"
        return replace(self._plan, **more)

    def _carry(self, pendings: Sequence[Pending], **_: object) -> None:
        for pending in pendings:
            self._run = pending.client if pending.client.bulk else None
            sent = as_sent(pending.ask, self._spooled)
            self._send("ask", pending.number, (sent, pending.streams))

    def advance(self) -> None:
        """See `Asker.advance`: deliver what the server sent, or wait for it a moment."""
        if self._run is not None and self._run.is_over:
            self._run = None
            self._send("over")
        try:
            received = self._events.get(timeout=_WAIT_S)
        except queue.Empty:
            return
        if received is None:
            self._events.put(None)
            resumed = "" if self._plan is None else ": --out has what was answered"
            raise AskerEndedError(f"the server ended while it answered; run it again{resumed}")
        number, event = received
        with self._changed:
            pending = next((one for one in self._waiting if one.number == number), None)
            if pending is not None and isinstance(event, (Answered, Failed)):
                self._waiting.remove(pending)
        # Here, as the engine of a process does it: what a receiver raises ends the command.
        if pending is not None:
            if isinstance(event, Seen):
                self._seen.add(pending.ask.read)
            pending.send(in_the_words_of(pending.ask, event))

    def holds(self, ask: Ask) -> bool:
        """See `Asker.holds`."""
        return ask.read in self._seen

    def free(self) -> bool:
        """See `Asker.free`; of the server, what it has for this command."""
        self._send("free")
        return False

    def _release(self, pending: Pending) -> None:
        self._send("cancel", pending.number)

    def leave(self, client: Client) -> None:
        """See `Asker.leave`; the server cancels those that wait, and answers the others."""
        if self.videos_of(client):
            self._send("leave")

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
                self._events.put(self._link.receive())
        self._events.put(None)

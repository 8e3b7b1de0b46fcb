"""The server's end of the unix socket: it answers the commands of the same user."""

from __future__ import annotations

import os
import pickle
import queue
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dycoke_cli import Ask, Engine, Event, Failed, Request
from dycoke_cli.compression.registry import described
from dycoke_cli.engine.explaining import explain
from dycoke_cli.errors import DycokeError
from dycoke_cli.loop.asker import CancelledError, Client, Pending
from dycoke_cli.loop.plan import RunPlan, plan_of
from dycoke_cli.plugins import running_code
from dycoke_cli.server.local.unix_socket import is_own
from dycoke_cli.server.local.wire import STATUS, CommandSetup, Link, ServerStatus, model_key
from dycoke_cli.server.service import Service
from dycoke_cli.storage.cache_folder import cache_folder

_FIRST_S = 10.0  # in which a command must say what it wants


class LocalServer:
    """Answers commands, each in a thread of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._links: set[Link] = set()
        self._listening: socket.socket | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a command is connected."""
        return bool(self._links)

    def begin(self, listening: socket.socket) -> None:
        """Answer whoever connects to a socket."""
        self._listening = listening
        running_code()  # before anybody edits its files: a command compares it with its own
        threading.Thread(target=self._accept, args=(listening,), name="local", daemon=True).start()

    def shut(self) -> None:
        """Let nobody connect any more."""
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # ends the thread that accepts
            self._listening.close()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connected, _ = listening.accept()
                if is_own(connected):
                    threading.Thread(
                        target=self._answer, args=(Link(connected),), name="local", daemon=True
                    ).start()
                else:
                    connected.close()

    def hang_up(self) -> None:
        """End what is under way."""
        for link in [*self._links]:
            link.close()

    def _answer(self, link: Link) -> None:
        self._links.add(link)
        try:
            # The command may end at any time.
            with closing(link), suppress(EOFError, OSError):
                self._serve(link)
        finally:
            self._links.discard(link)

    def _serve(self, link: Link) -> None:
        service = self._service
        try:
            its_code, pickled = link.receive(_FIRST_S)
        except Exception:  # what isn't one of our commands, or an old one, says something else
            return
        reason: str | ServerStatus
        setup, reason = None, "it runs another version of dycoke, or other plug-ins"
        if its_code == running_code():
            try:
                setup = pickle.loads(pickled)
                reason = (
                    status_of(service)
                    if setup == STATUS
                    else why_not(setup, service.defaults, service.engine)
                )
            except Exception:  # whatever the code of a plug-in raises
                reason = "it doesn't understand the request"
        link.send(reason)
        if setup is not None and not reason:
            service.metrics.add("requests_total", status="200")
            service.metrics.add("requests_active")
            try:
                _Asking(setup, service.engine, service.defaults, link).run()
            finally:
                service.metrics.add("requests_active", -1)


class _Asking:
    """A command that asks."""

    def __init__(self, setup: CommandSetup, engine: Engine, defaults: Request, link: Link) -> None:
        self._setup, self._engine, self._defaults, self._link = setup, engine, defaults, link
        self._client = Client(
            bulk=setup.bulk, batch_size=setup.batch_size, caches=setup.cache is not None
        )
        self._pending: dict[int, Pending] = {}
        self._sent: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self) -> None:
        """Answer until the command ends; then what is under way for it ends, too."""
        # In a thread: a command that reads nothing must not keep the engine waiting.
        threading.Thread(target=self._send_all, name="local", daemon=True).start()
        # Without `occupied` the model could be unloaded between two questions.
        with self._engine.occupied():
            try:
                self._sent.put(self._plan())
                while True:
                    self._take(*self._link.receive())
            finally:
                self._client.is_over = True
                for pending in [*self._pending.values()]:
                    pending.cancel()
                self._link.close()
                self._sent.put(None)  # lets the thread notice
                self._engine.prepare()

    def _send_all(self) -> None:
        with suppress(OSError):
            while True:
                self._link.send(self._sent.get())

    def _plan(self) -> RunPlan | DycokeError | None:
        if not self._setup.bulk:
            return None
        try:
            # The server's dtype: another would be chosen by the memory that is free beside its
            # model.
            dtype = self._engine.call(lambda loaded: loaded.model.dtype)
            loading = self._defaults.loading.with_dtype(dtype)
            return plan_of(
                replace(self._setup.request, model=self._defaults.model, loading=loading)
            )
        except Exception as error:
            return explain(error)

    def _take(self, what: str, number: int, value: tuple[Ask, bool]) -> None:
        if what == "ask":
            self._submit(number, *value)
        elif what == "cancel":
            if (pending := self._pending.get(number)) is not None:
                pending.cancel()
        elif what == "over":
            self._client.is_over = True
        elif what == "free":
            self._engine.drop(self._client)
        else:
            self._engine.leave(self._client)

    def _submit(self, number: int, ask: Ask, streams: bool) -> None:
        def receive(_: Pending, event: Event) -> None:
            self._sent.put((number, _sendable(event)))

        defaults = self._defaults
        own = replace(ask.request, model=defaults.model, loading=defaults.loading)
        try:
            [pending] = self._engine.submit(
                replace(ask, request=own), client=self._client, on_event=receive, streams=streams
            )
        except DycokeError as error:
            self._sent.put((number, Failed(error)))
            return
        self._pending = {n: one for n, one in self._pending.items() if not one.has_ended}
        self._pending[number] = pending


def _sendable(event: Event) -> Event:
    """An event whose error can be pickled, and has a sentence for the user."""
    if isinstance(event, Failed) and not isinstance(event.error, CancelledError):
        return Failed(explain(event.error))
    return event


def status_of(service: Service) -> ServerStatus:
    """What `dycoke serve status` shows of this server."""
    return ServerStatus(
        model=service.defaults.model,
        url=service.url,
        process=os.getpid(),
        started=datetime.fromtimestamp(service.started, UTC).isoformat(" ", "minutes"),
        loaded=service.engine.loaded is not None,
        idle_s=service.engine.idle_s,
    )


def why_not(setup: CommandSetup, defaults: Request, engine: Engine) -> str:
    """Why this server's model wouldn't answer as the command itself; empty if it would."""
    asked = setup.request
    if asked.model != model_key(defaults.model):
        return f"it has the model {defaults.model}"
    if asked.loading not in (defaults.loading, engine.loading):
        return f"it has loaded {defaults.model} with other flags"
    if described(asked.method) != setup.method:
        return "a plug-in has changed since it began"
    if setup.cache not in (None, str(cache_folder())):
        return "it has another cache folder"
    return ""

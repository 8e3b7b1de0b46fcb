"""Client of the local API: the running server answers a command's questions, or is stopped."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Hashable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import Bounds, MismatchError, from_dict, parse, to_dict
from dycoke_cli.ask import Answered, Ask, Event, Failed, Seen
from dycoke_cli.compression.registry import restore
from dycoke_cli.errors import DycokeError, OutputError, error_of
from dycoke_cli.loop.asker import Asker, AskerEndedError
from dycoke_cli.loop.pending import Client, Pending, Receive
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.request import Request
from dycoke_cli.server.local.unix_socket import connect, socket_identity
from dycoke_cli.server.local.wire import (
    ASK_PATH,
    MOST_BYTES,
    STOP_PATH,
    ask_to_json,
    event_of_json,
    in_the_words_of,
    line_of,
    setup_of,
)
from dycoke_cli.storage.output_file import temporary_folder
from dycoke_cli.video.stdin import spool

if TYPE_CHECKING:
    from dycoke_cli.video.decoder import Decoder

_STOP_TIMEOUT_S = 30.0  # a stopping server finishes the answer under way
_POLL_S, _WAIT_S = 0.02, 0.2
_SILENT = "it didn't answer"


class UnansweredError(Exception):
    """The reason why the running server doesn't answer, or not completely, as a sentence."""


def find_server(
    request: Request, *, cache: bool = False, bulk: bool = False, batch_size: int | None = None
) -> ServerAsker | str:
    """The running server, if it can answer questions exactly as this process would.

    Args:
        batch_size: questions that are answered together; None lets the server choose.

    Returns:
        What answers them; or the reason why the server can't, "" if none is running.
    """
    connection = connect()
    if connection is None:
        return ""
    with ExitStack() as stack:
        stack.enter_context(connection)
        setup = setup_of(request, cache=cache, bulk=bulk, batch_size=batch_size)
        received = events(connection, post(ASK_PATH, None) + _chunk(line_of(to_dict(setup))))
        stack.enter_context(closing(received))
        try:
            first = next(received)
        except UnansweredError as error:
            return str(error)
        if first.get("event") == "failed":
            raise error_of(str(first.get("code")), str(first.get("message")))
        if first.get("event") != "ready":
            return _SILENT
        return ServerAsker(request, first, connection, received, stack.pop_all())


class ServerAsker(Asker):
    """Has the running server of this user answer."""

    def __init__(
        self,
        request: Request,
        ready: dict[str, Any],
        connection: socket.socket,
        received: Generator[dict[str, Any], None, None],
        opened: ExitStack,
    ) -> None:
        self._request, self._ready = request, ready
        self._connection, self._received, self._opened = connection, received, opened
        self._numbers = itertools.count()
        self._pending: dict[int, Pending] = {}
        self._events: deque[tuple[int, Event]] = deque()
        self._seen: set[Hashable] = set()
        self._stdin: str | None = None
        self._run: Client | None = None
        self._failure: AskerEndedError | None = None
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._receive, name="server", daemon=True)
        self._thread.start()

    def plan(self, **more: Any) -> RunPlan:
        """The plan of a run that the server answers; `more` are other fields of `RunPlan`."""
        method = restore(from_dict(dict[str, Any], self._ready.get("method")))
        identity = from_dict(dict[str, Any], self._ready.get("identity"))
        audio_rate = from_dict(int | None, self._ready.get("audio_rate"))
        sampling = replace(self._request.sampling, audio_rate=audio_rate)
        request = replace(self._request, method=method, sampling=sampling)
        return RunPlan(request, self._request.method, identity, **more)

    def submit(
        self,
        *asks: Ask,
        client: Client | None = None,
        on_event: Receive | None = None,
        streams: bool = True,
        decoders: Sequence[Decoder] = (),
        **_: object,
    ) -> list[Pending]:
        """See `Asker.submit`; work on a video and refusals are for the process itself."""
        client = client or Client()
        pendings = [
            Pending(self, ask, client, on_event, streams=streams, work=None, refuse=None)
            for ask in asks
        ]
        for pending in pendings:
            document = {"streams": streams, **ask_to_json(pending.ask, self._spooled)}
            with self._changed:
                number = next(self._numbers)
                self._pending[number] = pending
                self._run = client if client.bulk else None
            self._send({"ask": number, **document})
        return pendings

    def advance(self) -> None:
        """See `Asker.advance`: deliver what the server sent, or wait for it a moment."""
        if self._run is not None and self._run.is_over:
            self._run = None
            self._send({"over": True})
        with self._changed:
            if not self._events:
                if self._failure is not None:
                    raise self._failure
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
        self._send({"free": True})
        return False

    def forget(self, pending: Pending) -> None:
        """See `Asker.forget`."""
        with self._changed:
            number = next((n for n, one in self._pending.items() if one is pending), None)
            self._pending.pop(number, None)  # type: ignore[arg-type]
        if number is not None:
            self._send({"cancel": number})

    def leave(self, client: Client) -> None:
        """See `Asker.leave`; the server knows which questions wait."""
        with self._changed:
            waits = any(one.client is client for one in self._pending.values())
        if waits:
            self._send({"leave": True})

    def videos_of(self, client: Client) -> int:
        """See `Asker.videos_of`."""
        with self._changed:
            return len({one.ask.read for one in self._pending.values() if one.client is client})

    def close(self) -> None:
        """See `Asker.close`."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # releases a blocked thread
        self._thread.join()
        self._opened.close()

    def _spooled(self) -> str:
        """Path of a file with the video that comes from stdin, which is read once."""
        if self._stdin is None:
            path = self._opened.enter_context(temporary_folder()) / "stdin"
            with path.open("wb") as file:
                spool(file)
            self._stdin = str(path)
        return self._stdin

    def _send(self, document: dict[str, Any]) -> None:
        with suppress(OSError):  # the thread that receives notices
            self._connection.sendall(_chunk(line_of(document)))

    def _receive(self) -> None:
        """Take events as they come, and note why no more do; the body of the thread."""
        resumed = ": --out has what was answered" if "identity" in self._ready else ""
        reason = f"the server ended while it answered; run it again{resumed}"
        try:
            for document in self._received:
                number, event = document.get("ask"), event_of_json(document)
                if number is None:
                    assert isinstance(event, Failed), "others have numbers"
                    raise event.error
                with self._changed:
                    self._events.append((from_dict(int, number), event))
                    self._changed.notify_all()
        except UnansweredError:
            pass
        except ValueError:
            reason = "the server sent what this version doesn't; run it again"
        except DycokeError as error:
            reason = str(error)
        with self._changed:
            self._failure = AskerEndedError(reason)
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


def post(path: str, body: bytes | None) -> bytes:
    """A POST request.

    Args:
        body: JSON; None if it follows in chunks.
    """
    length = "Transfer-Encoding: chunked" if body is None else f"Content-Length: {len(body)}"
    kind = "Content-Type: application/json"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{length}\r\n\r\n".encode() + (
        body or b""
    )


def events(connection: socket.socket, request: bytes) -> Generator[dict[str, Any], None, None]:
    """Send a request, and yield the events of the response as they arrive."""
    try:
        connection.sendall(request)
        # Imported after the request is sent: it takes 15 ms, during which the server works.
        from http.client import HTTPException, HTTPResponse
    except OSError as error:
        raise UnansweredError(_SILENT) from error
    response = HTTPResponse(connection, method="POST")
    try:
        response.begin()
        if response.status != 200:
            raise UnansweredError(_reason(response.read(MOST_BYTES), response.status))
        # No timeout from here: a long prefill sends no events.
        connection.settimeout(None)
        while line := response.readline(MOST_BYTES):
            yield from_dict(dict[str, Any], parse(line, Bounds(MOST_BYTES)))
    except (OSError, HTTPException, MismatchError, ValueError, AttributeError) as error:
        raise UnansweredError(_SILENT) from error
    finally:
        response.close()
    raise UnansweredError("it ended")


def stop_running() -> bool:
    """Stop the running server and wait for its end; returns whether there was one."""
    connection = connect()
    if connection is None:
        return False
    stuck = "the server doesn't end; end its process by hand"
    with connection:
        before = socket_identity()
        try:
            next(events(connection, post(STOP_PATH, b"{}")))
        except UnansweredError as error:
            raise OutputError(stuck) from error
    until = time.monotonic() + _STOP_TIMEOUT_S
    # The server removes its socket last; another server may have made its own there by now.
    while before is not None and socket_identity() == before:
        if time.monotonic() > until:
            raise OutputError(stuck)
        time.sleep(_POLL_S)
    return True


def _reason(body: bytes, status: int) -> str:
    """The reason in the response of a refused request."""
    try:
        return str(parse(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it refused the request (HTTP {status})"


def _chunk(line: bytes) -> bytes:
    """A JSON line as a chunk of an HTTP body."""
    return b"%x\r\n%s\r\n" % (len(line), line)

"""The server's half of the door: conversations of commands of the same user, in its engine."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.compression.registry import described, restore
from dycoke_cli.errors import DycokeError, OutputError
from dycoke_cli.models.explaining import explain
from dycoke_cli.request import Request
from dycoke_cli.runs.conversation import Conversation, converse
from dycoke_cli.runs.listener import Listener
from dycoke_cli.server.door import (
    STOP,
    Asking,
    WarmRequest,
    code,
    connect,
    is_private,
    message,
    model_key,
    received,
    socket_path,
)
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.warm_batch import WarmBatch
from dycoke_cli.storage.cache_folder import cache_folder, make_folder
from dycoke_cli.video.decoder import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel

T = TypeVar("T")

_PATIENCE_S = 10.0  # with a command that doesn't send, or doesn't read


class ColdError(Exception):
    """Why a conversation can't be held here."""


class Doorkeeper:
    """Listens at the user's socket, where no other server of theirs does.

    Args:
        engine: holds conversations.
        defaults: name the model, and how it was loaded.
        stop: ends the server.

    Attributes:
        listens: whether commands find this server.
    """

    def __init__(self, engine: EngineThread, defaults: Request, stop: Callable[[], None]) -> None:
        self._engine, self._defaults, self._stop = engine, defaults, stop
        self._stopping: list[socket.socket] = []
        self._spare = Decoder(defaults.limits)
        self._listening = _listen()
        self.listens = self._listening is not None

    def start(self) -> None:
        """Begin."""
        if self.listens:
            self._spare.start()  # it imports PyAV before anybody waits for that
            threading.Thread(target=self._run, name="door", daemon=True).start()

    def close(self) -> None:
        """End, and tell those who wanted it."""
        if self._listening is not None:
            with suppress(OSError):
                socket_path().unlink()
            self._listening.close()
        self._spare.stop()
        for connection in self._stopping:
            connection.close()

    def _run(self) -> None:
        assert self._listening is not None
        with suppress(OSError):  # it is closed
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE_S)
        try:
            if not _is_own(connection):
                connection.close()
                return
            messages = received(connection)
            sent = next(messages, None)
            if sent == STOP:
                self._stopping.append(connection)
                self._stop()
                return
            with connection:
                self._hold(connection, sent, messages)
        except (OSError, ValueError):
            connection.close()

    def _hold(
        self, connection: socket.socket, sent: Any, messages: Iterator[dict[str, Any]]
    ) -> None:
        try:
            if isinstance(sent, dict) and "batch" in sent:
                batch, request = understood(WarmBatch, sent["batch"], self._defaults)
            else:
                conversation = conversation_of(sent, self._defaults)
        except ColdError as reason:
            connection.sendall(message({"event": "cold", "reason": str(reason)}))
            return
        if "batch" in sent:
            from dycoke_cli.server.held_batch import hold_batch

            cache = batch.asking.cache is not None
            hold_batch(connection, messages, request, batch.batch_size, cache, self._engine)
            return
        connection.sendall(message({"event": "taken"}))
        over = threading.Event()

        def hold(loaded: LoadedModel) -> None:
            try:
                _converse(conversation, connection, loaded, self._decoders(conversation))
            finally:
                over.set()

        self._engine.submit(hold)
        over.wait()
        self._spare.start()

    def _decoders(self, conversation: Conversation) -> list[Decoder]:
        """The decoder that is ready, for one video within the usual limits."""
        if len(conversation.sources) > 1 or conversation.request.limits != self._defaults.limits:
            return []
        ready, self._spare = self._spare, Decoder(self._defaults.limits)
        return [ready]


def understood(kind: type[T], sent: Any, defaults: Request) -> tuple[T, Request]:
    """What was sent, and how it asks.

    Args:
        kind: a dataclass with `asking`.
        sent: its object.
        defaults: of the server.

    Raises:
        ColdError: it can't be answered with this model, or by this code.
    """
    said = sent.get("asking") if isinstance(sent, dict) else None
    if not isinstance(said, dict) or said.get("code") != code():
        raise ColdError("it runs another version of dycoke, or other plug-ins")
    try:
        asked: Any = from_dict(kind, sent)
        asking: Asking = asked.asking
        method = restore(asking.method)
    except (ValueError, KeyError, DycokeError) as error:
        raise ColdError("it doesn't understand the request") from error
    if asking.model != model_key(defaults.model):
        raise ColdError(f"it has the model {defaults.model}")
    if asking.loading != defaults.loading:
        raise ColdError(f"it has loaded {defaults.model} with other flags")
    if described(method) != asking.method:
        raise ColdError("a plug-in has changed since it began")
    if asking.cache not in (None, str(cache_folder())):
        raise ColdError("it has another cache folder")
    return asked, Request(
        model=defaults.model,
        loading=asking.loading,
        sampling=asking.sampling,
        method=method,
        generation=asking.generation,
        limits=asking.limits,
    )


def conversation_of(sent: Any, defaults: Request) -> Conversation:
    """The conversation that was sent.

    Raises:
        ColdError: it can't be held with this model, or by this code.
    """
    asked, request = understood(WarmRequest, sent, defaults)
    return Conversation(
        asked.videos,
        [*asked.questions],
        replace(request, subtitles=asked.subtitles),
        compare=asked.compare,
        cache=asked.asking.cache is not None,
        follow_up=asked.follow_up,
    )


def _converse(
    conversation: Conversation,
    connection: socket.socket,
    loaded: LoadedModel,
    decoders: Sequence[Decoder],
) -> None:
    listener = _Sending(connection)
    with suppress(_GoneError):  # which ends what nobody waits for
        try:
            converse(conversation, listener, loaded, decoders)
            listener.send("done")
        except _GoneError:
            raise
        except Exception as error:
            reason = explain(error)
            listener.send("error", code=reason.code, message=str(reason))


class _GoneError(OSError):
    """The command has ended, or doesn't read."""


class _Sending(Listener):
    """Sends all that it hears."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    def send(self, event: str, **more: Any) -> None:
        try:
            self._connection.sendall(message({"event": event, **more}))
        except OSError as error:
            raise _GoneError from error

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        self.send("stage", stage=stage, done=done, total=total)

    def warning(self, sentence: str) -> None:
        self.send("warning", text=sentence)

    @property
    def on_text(self) -> Callable[[str], None]:
        return lambda text: self.send("text", text=text)

    def begin(self, question: str) -> None:
        self.send("begin", text=question)

    def begin_comparison(self) -> None:
        self.send("begin_comparison")

    def finish(self, answer: Answer) -> None:
        self.send("finish", answer=to_dict(answer))

    def advise(self, sentence: str) -> None:
        self.send("advise", text=sentence)


def _listen() -> socket.socket | None:
    """The user's socket; None where another server has it, or there are no such sockets.

    Raises:
        OutputError: its folder is somebody else's, or can't be made.
    """
    if not hasattr(socket, "AF_UNIX"):
        return None
    path = socket_path()
    try:
        make_folder(path.parent)
        if not is_private(path.parent):
            raise OutputError(f"{path.parent} isn't yours alone; remove it, or set XDG_RUNTIME_DIR")
        if (other := connect()) is not None:
            other.close()
            return None
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.fspath(path))
        path.chmod(0o600)
        listening.listen()
    except OSError as error:
        raise OutputError(f"{path} can't be listened at ({error})") from error
    return listening


def _is_own(connection: socket.socket) -> bool:
    """Whether who has connected is this user, as far as the system says."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder lets nobody else in
    size = struct.calcsize("3i")
    about = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return bool(struct.unpack("3i", about)[1] == os.geteuid())

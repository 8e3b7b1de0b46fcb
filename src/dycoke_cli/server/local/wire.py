"""What a command and the running server of the same user send each other.

Both run the same code as the same user, and each has checked the owner of the other
(`unix_socket`). So they send the objects themselves, pickled, as to a worker process. The command
begins with the code that it runs, for another version couldn't read the rest:

    command                                  server
    (code, pickled STATUS)                   a ServerStatus
    (code, pickled CommandSetup)             "", or why the command should answer by itself
                                             the plan of a run that needs one, or None, or an error
    ("ask", number, (question, streams)) …   (number, event) …
    ("cancel", number, None)                 nobody waits for that answer any more
    ("free", None, None)                     no later question is about the same videos
    ("over", None, None)                     it was the last question of a run
    ("leave", None, None)                    only the answers under way are still wanted
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any

from dycoke_cli import Answer, Answered, Ask, Event, Failed, Footage, Request, Warn
from dycoke_cli.answer.json_schema import ABSENT, Amount, Count, Doc
from dycoke_cli.compression.registry import described
from dycoke_cli.errors import DycokeError
from dycoke_cli.storage.cache_folder import cache_folder
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import STDIN, STDIN_NAME, advice_on_address


class Link:
    """A connection that carries objects; any thread may send, and one receives."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._file = connected, connected.makefile("rb")
        self._sending = threading.Lock()

    def send(self, value: Any) -> None:
        """Send an object."""
        with self._sending:
            self._socket.sendall(pickle.dumps(value))

    def receive(self, timeout_s: float | None = None) -> Any:
        """The next object; EOFError or OSError where none comes, or not in time."""
        self._socket.settimeout(timeout_s)
        return pickle.load(self._file)

    def close(self) -> None:
        """Close it; whoever receives gets an EOFError."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()  # the file closes itself: another thread may still read it


STATUS = "status"
"""What `dycoke serve status` sends in place of a setup."""


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """The running server of this user."""

    schema: str = "dycoke.status/1"
    model: str
    url: Annotated[str, Doc("Where it listens, for OpenAI's clients.")]
    process: Annotated[Count, Doc("Its number in the system.")]
    started: Annotated[str, Doc("UTC.")]
    loaded: Annotated[bool, Doc("Whether the model is in memory.")]
    idle_s: Annotated[Amount, Doc("Seconds since the last answer; 0 while it answers.")]


@dataclass(frozen=True)
class CommandSetup:
    """What both processes must agree on."""

    request: Request  # how the questions are asked, unless one has its own
    method: dict[str, Any]  # its method, with the version of its plug-in
    cache: str | None  # folder of encoded videos, or None if they aren't cached on disk
    bulk: bool  # whether many questions come, of a run that needs a plan
    batch_size: int | None  # see `loop.asker.Client`

    @classmethod
    def of(cls, request: Request, cache: bool, bulk: bool, batch_size: int | None) -> CommandSetup:
        """The setup of a command."""
        folder = str(cache_folder()) if cache else None
        request = replace(request, model=model_key(request.model))
        return cls(request, described(request.method), folder, bulk, batch_size)


def model_key(model: str) -> str:
    """A model's name, or the absolute path of its folder."""
    return os.path.realpath(model) if os.path.isdir(model) else model


def as_sent(ask: Ask, stdin: Callable[[], str]) -> Ask:
    """A question as the server, which has another working directory, can open its videos.

    Args:
        stdin: gives the path of a file with what comes from there.
    """
    assert not ask.blind, "its video would be read"
    return replace(ask, videos=tuple(_footage_as_sent(one, stdin) for one in ask.videos))


def _footage_as_sent(video: Footage, stdin: Callable[[], str]) -> Footage:
    source, subtitles, shown_as = video.source, video.subtitles, video.shown_as
    assert isinstance(source, (str, tuple)), "no command renders what a server is asked about"
    assert video.edit is None, "no command edits what a server is asked about"
    if source == STDIN:
        source, shown_as = stdin(), shown_as or STDIN_NAME
    source = _absolute(source) if isinstance(source, str) else tuple(map(_absolute, source))
    if subtitles is not None and subtitles.path is not None:
        subtitles = replace(subtitles, path=_absolute(subtitles.path))
    if subtitles is not None and subtitles.speech is not None:
        subtitles = replace(subtitles, speech=model_key(subtitles.speech))
    # An overwritten file is another video.
    files = (source, None if subtitles is None else subtitles.path)
    identity = (source, video.sampling, *map(_stamps, files))
    return replace(video, source=source, subtitles=subtitles, shown_as=shown_as, identity=identity)


def _absolute(path: str) -> str:
    """A path as an absolute one; an address as it is."""
    is_address = advice_on_address(path) is not None and not os.path.lexists(path)
    return path if is_address else os.path.abspath(path)


def _stamps(source: str | tuple[str, ...] | None) -> tuple[tuple[str, int, int, int] | None, ...]:
    """What differs once a file, or one of a folder, is overwritten."""
    paths = [] if source is None else [source] if isinstance(source, str) else [*source]
    for path in [*paths]:
        with suppress(OSError):  # most are no folders
            paths += sorted(one.path for one in os.scandir(path))
    return tuple(map(_stamp, paths))


def _stamp(path: str) -> tuple[str, int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:  # reported when it is opened
        return None
    return path, status.st_mtime_ns, status.st_size, status.st_ino


def in_the_words_of(ask: Ask, event: Event) -> Event:
    """An event of a server, with the paths that the command was given in place of those sent."""
    names = [*_names_of(ask)]

    def said(sentence: str) -> str:
        for there, given in names:
            sentence = sentence.replace(there, given)
        return sentence

    def named(answer: Answer) -> Answer:
        more: dict[str, Any] = {"warnings": tuple(map(said, answer.warnings))}
        if (lines := answer.subtitles) is not ABSENT:
            more["subtitles"] = replace(lines, source=said(lines.source))
        if isinstance(answer.compared_to, Answer):
            more["compared_to"] = named(answer.compared_to)
        return replace(answer, **more)

    if isinstance(event, Warn):
        return replace(event, text=said(event.text))
    if isinstance(event, Failed) and isinstance(event.error, DycokeError):
        return replace(event, error=type(event.error)(said(str(event.error))))
    if isinstance(event, Answered):
        return replace(event, answer=named(event.answer))
    return event


def _names_of(ask: Ask) -> Iterator[tuple[str, str]]:
    for video in ask.videos:
        own = (video.source,) if isinstance(video.source, str) else video.source
        assert isinstance(own, tuple), "see `as_sent`"
        lines = video.subtitles
        subtitles = () if lines is None else (lines.path, lines.speech)
        for path in (*own, *subtitles):
            if path is not None and path != STDIN:
                yield display_name(_absolute(path)), display_name(path)

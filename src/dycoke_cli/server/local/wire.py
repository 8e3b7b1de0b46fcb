"""Paths and JSON objects of the local API, which commands and the running server share.

`POST /local/ask` streams in both directions, one JSON object a line. The body begins with a
`ProtocolSetup`. Then comes `{"ask": n, …}` for each question, `{"cancel": n}` where nobody waits
for an answer any more, `{"free": true}` where no later question is about the same videos, `{"over":
true}` behind the last question of a run, and `{"leave": true}` where only the answers under way are
still wanted. The response begins with `{"event": "ready", …}`; each event of a question has its
number.

`POST /local/stop` ends the server. A command that this server can't serve exactly as the command
would itself is refused with 409 and the reason; the command then loads the model in its own
process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dycoke_cli import plugins
from dycoke_cli.answer.answer import Answer, ReportedSubtitles, Tuned
from dycoke_cli.answer.caption import CaptionStyle
from dycoke_cli.answer.json_schema import MismatchError, from_dict, to_dict
from dycoke_cli.ask import (
    Answered,
    Ask,
    Done,
    Event,
    Failed,
    Footage,
    Note,
    Progress,
    Seen,
    Text,
    Warn,
)
from dycoke_cli.compression.registry import described, restore
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import DycokeError, UsageError, error_of
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.loop.pending import FORGOTTEN, CancelledError
from dycoke_cli.models.explaining import explain
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.storage.cache_folder import cache_folder
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__
from dycoke_cli.video.file_names import STDIN, STDIN_NAME
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.open_file import advice_on_address
from dycoke_cli.video.rendered import Rendered
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import SubtitleSource

PREFIX = "/local/"
"""Paths that are served at the unix socket and nowhere else."""
ASK_PATH, STOP_PATH = f"{PREFIX}ask", f"{PREFIX}stop"
MOST_BYTES = 16 * 1024**2
"""The longest line."""
_SENT_WHOLE = (Progress, Note, Warn, Seen, Text, Answered)
_FORGOTTEN = "forgotten"


@dataclass(frozen=True)
class SentRequest:
    """A `Request` without its model, which the setup names."""

    sampling: Sampling
    method: dict[str, Any]
    generation: GenerationOptions
    subtitles: str | None
    limits: Limits
    tuned: Tuned | None
    guard: Guard | None
    cautions: tuple[str, ...]
    max_tokens: int | None

    @classmethod
    def of(cls, request: Request) -> SentRequest:
        """What is sent of a request."""
        own = {one.name: getattr(request, one.name) for one in fields(cls)}
        return cls(**own | {"method": described(request.method)})

    def asked_of(self, defaults: Request) -> Request:
        """The request to the model of a server with these defaults."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(defaults, **own | {"method": restore(self.method)})


@dataclass(frozen=True)
class ProtocolSetup:
    """What both processes must agree on."""

    code: str  # installed code, see `code`
    model: str  # see `model_key`
    loading: LoadOptions  # how it is loaded
    cache: str | None  # folder of encoded videos, or None if they aren't cached on disk
    bulk: bool  # whether many questions come, of a run that needs a plan
    batch_size: int | None  # see `loop.pending.Client`
    request: SentRequest  # how the questions are asked, unless one has its own


@dataclass(frozen=True)
class _SentFootage:
    """A `Footage`; its paths are absolute."""

    source: str | tuple[str, ...]
    name: str
    place: str
    digest: str | None
    subtitles: SubtitleSource | None
    sampling: Sampling | None
    shown_as: str | None


@dataclass(frozen=True)
class _Asked:
    """An `Ask`."""

    question: str
    request: SentRequest
    videos: tuple[_SentFootage, ...]
    history: tuple[tuple[str, str], ...]
    compare: bool
    check: CaptionStyle | None
    key: str | None
    id: str | None
    part_s: tuple[float | None, float | None] | None
    stamped: bool


def code() -> str:
    """Identity of the installed code: the release, its folder, and the plug-ins."""
    here = Path(__file__).resolve().parents[2]
    return f"{__version__} {here} {os.environ.get(plugins.ENVIRONMENT, '')}"


def model_key(model: str) -> str:
    """A model's name, or the absolute path of its folder."""
    return os.path.realpath(model) if os.path.isdir(model) else model


def setup_of(
    request: Request, *, cache: bool = False, bulk: bool = False, batch_size: int | None = None
) -> ProtocolSetup:
    """The setup of a command."""
    return ProtocolSetup(
        code(),
        model_key(request.model),
        request.loading,
        str(cache_folder()) if cache else None,
        bulk,
        batch_size,
        SentRequest.of(request),
    )


def ask_to_json(ask: Ask, stdin: Callable[[], str]) -> dict[str, Any]:
    """A question about videos on disk."""
    assert not ask.blind, "its video would be read"
    own = {one.name: getattr(ask, one.name) for one in fields(_Asked)}
    videos = tuple(_shown(video, stdin) for video in ask.videos)
    history = tuple((question, answer) for question, answer in ask.history)
    request = SentRequest.of(ask.request)
    document: dict[str, Any] = to_dict(
        _Asked(**own | {"videos": videos, "history": history, "request": request})
    )
    return document


def _absolute(path: str) -> str:
    """A path as the server, which has another working directory, opens it; an address as it is."""
    is_address = advice_on_address(path) is not None and not os.path.lexists(path)
    return path if is_address else os.path.abspath(path)


def _shown(video: Footage, stdin: Callable[[], str]) -> _SentFootage:
    source, subtitles, shown_as = video.source, video.subtitles, video.shown_as
    assert not isinstance(source, Rendered), "no command renders what a server is asked about"
    assert video.edit is None, "no command edits what a server is asked about"
    if source == STDIN:
        source, shown_as = stdin(), shown_as or STDIN_NAME
    absolute = _absolute(source) if isinstance(source, str) else tuple(map(_absolute, source))
    if subtitles is not None and subtitles.path is not None:
        subtitles = replace(subtitles, path=_absolute(subtitles.path))
    return _SentFootage(
        absolute, video.name, video.place, video.digest, subtitles, video.sampling, shown_as
    )


def in_the_words_of(ask: Ask, event: Event) -> Event:
    """An event of a server, with the paths that the command was given in place of those sent."""
    names = [*_names_of(ask)]

    def said(sentence: str) -> str:
        for absolute, given in names:
            sentence = sentence.replace(absolute, given)
        return sentence

    if isinstance(event, (Note, Warn)):
        return replace(event, text=said(event.text))
    if isinstance(event, Failed) and isinstance(event.error, DycokeError):
        return Failed(type(event.error)(said(str(event.error))))
    if isinstance(event, Answered):
        return replace(event, answer=_named(event.answer, said))
    return event


def _names_of(ask: Ask) -> Iterator[tuple[str, str]]:
    for video in ask.videos:
        own = (video.source,) if isinstance(video.source, str) else video.source
        assert isinstance(own, tuple), "see `ask_to_json`"
        subtitles = () if video.subtitles is None else (video.subtitles.path,)
        for path in (*own, *subtitles):
            if path is not None and path != STDIN:
                yield display_name(_absolute(path)), display_name(path)


def _named(answer: Answer, said: Callable[[str], str]) -> Answer:
    answer = replace(answer, warnings=tuple(map(said, answer.warnings)))
    if isinstance(answer.subtitles, ReportedSubtitles):
        subtitles = replace(answer.subtitles, source=said(answer.subtitles.source))
        answer = replace(answer, subtitles=subtitles)
    if isinstance(answer.compared_to, Answer):
        answer = replace(answer, compared_to=_named(answer.compared_to, said))
    return answer


def ask_of_json(sent: Any, defaults: Request) -> Ask:
    """The question that a command sent, asked of the model of `defaults`."""
    try:
        asked: _Asked = from_dict(_Asked, sent)
    except ValueError as error:
        raise UsageError("the server doesn't understand the question; --no-server works") from error
    own = {one.name: getattr(asked, one.name) for one in fields(asked)}
    videos = tuple(map(_footage, asked.videos))
    return Ask(**own | {"videos": videos, "request": asked.request.asked_of(defaults)})


def _footage(shown: _SentFootage) -> Footage:
    own = {one.name: getattr(shown, one.name) for one in fields(shown)}
    subtitles = () if shown.subtitles is None else _stamps(shown.subtitles.path)
    return Footage(**own, identity=(shown.source, shown.sampling, _stamps(shown.source), subtitles))


def _stamps(source: str | tuple[str, ...] | None) -> tuple[tuple[str, int, int, int] | None, ...]:
    """What differs once a file, or one of a folder, is overwritten: it is another video then."""
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


def event_to_json(number: int, event: Event) -> dict[str, Any]:
    """An event of a question, for the process that asked."""
    about: dict[str, Any] = {"ask": number, "event": _name(type(event))}
    if isinstance(event, Seen):
        return about | asdict(event)  # with the paths, which no document has
    if not isinstance(event, Failed):
        assert not isinstance(event, Done), "work is for the process itself"
        return about | to_dict(event)
    if isinstance(event.error, CancelledError):
        return about | {"event": _FORGOTTEN}
    reason = explain(event.error)
    return about | {"code": reason.code, "message": str(reason)}


def event_of_json(document: dict[str, Any]) -> Event:
    """An event that a server sent."""
    given = {key: value for key, value in document.items() if key not in ("ask", "event")}
    name = document.get("event")
    if name == _FORGOTTEN:
        return Failed(CancelledError(FORGOTTEN))
    if name == _name(Failed):
        reason = from_dict(dict[str, str], given)
        return Failed(error_of(reason.get("code", ""), reason.get("message", "")))
    kind = next((one for one in _SENT_WHOLE if name == _name(one)), None)
    if kind is None:
        raise MismatchError("no event")
    event: Event = from_dict(kind, given)
    return event


def _name(kind: type) -> str:
    return kind.__name__.lower()


def line_of(document: dict[str, Any]) -> bytes:
    """A JSON object on one line, in ASCII; names of files needn't be valid Unicode."""
    return json.dumps(document, allow_nan=False).encode() + b"\n"

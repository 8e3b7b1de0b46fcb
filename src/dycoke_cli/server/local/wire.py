"""Paths and JSON objects of the local API, which commands and the running server share.

`POST /local/ask` streams in both directions, one JSON object a line. The body begins with a
`Setup`. Then comes `{"ask": n, …}` for each question, `{"cancel": n}` where nobody waits for an
answer any more, and `{"leave": true}` where only the answers under way are still wanted. The
response begins with `{"event": "ready", …}`; each event of a question has its number.

`POST /local/stop` ends the server. A command that this server can't serve exactly as the command
would itself is refused with 409 and the reason; the command then loads the model in its own
process.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dycoke_cli import plugins
from dycoke_cli.answer.guarantee import Tuned
from dycoke_cli.answer.json_reader import MismatchError, from_dict
from dycoke_cli.answer.json_schema import to_dict
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
from dycoke_cli.errors import UsageError, error_of
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.loop.pending import FORGOTTEN, CancelledError
from dycoke_cli.models.explaining import explain
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.storage.cache_folder import cache_folder
from dycoke_cli.unicode import display_name, is_valid, to_json
from dycoke_cli.version import __version__
from dycoke_cli.video.file_names import STDIN
from dycoke_cli.video.limits import Limits
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
class Setup:
    """What both processes must agree on.

    Args:
        code: installed code, see `code`.
        model: see `model_key`.
        loading: how it is loaded.
        cache: folder of encoded videos, or None if they aren't cached on disk.
        bulk: whether many questions come.
        plan: of many questions: their method, for the plan of the run; None without one.
    """

    code: str
    model: str
    loading: LoadOptions
    cache: str | None
    bulk: bool
    plan: dict[str, Any] | None


@dataclass(frozen=True)
class _Shown:
    """A `Footage`; its path is absolute."""

    source: str | tuple[str, ...]
    name: str
    place: str
    digest: str | None
    subtitles: SubtitleSource | None
    sampling: Sampling | None
    shown_as: str | None


@dataclass(frozen=True)
class _Asked:
    """An `Ask`, without its model, which the setup names."""

    question: str
    videos: tuple[_Shown, ...]
    history: tuple[tuple[str, str], ...]
    compare: bool
    key: str | None
    id: str | None
    part_s: tuple[float | None, float | None] | None
    stamped: bool
    sampling: Sampling
    method: dict[str, Any]
    generation: GenerationOptions
    subtitles: str | None
    limits: Limits
    tuned: Tuned | None
    guard: Guard | None
    cautions: tuple[str, ...]
    max_tokens: int | None


def code() -> str:
    """Identity of the installed code: the release, its folder, and the plug-ins."""
    here = Path(__file__).resolve().parents[2]
    return f"{__version__} {here} {os.environ.get(plugins.ENVIRONMENT, '')}"


def model_key(model: str) -> str:
    """A model's name, or the absolute path of its folder."""
    return os.path.realpath(model) if os.path.isdir(model) else model


def setup_of(request: Request, cache: bool, *, bulk: bool) -> Setup:
    """The setup of a command.

    Args:
        request: how questions are asked.
        cache: whether encoded videos are cached on disk.
        bulk: whether many come.
    """
    return Setup(
        code(),
        model_key(request.model),
        request.loading,
        str(cache_folder()) if cache else None,
        bulk,
        described(request.method) if bulk else None,
    )


def unsent(ask: Ask) -> str | None:
    """Why a question can't be sent to another process, as a sentence; None where it can."""
    paths: list[str] = []
    for video in ask.videos:
        if not isinstance(video.source, (str, tuple)) or video.edit is not None:
            return "the video is made in this command"
        if video.source == STDIN:
            return "the video comes from stdin"
        paths += [video.source] if isinstance(video.source, str) else video.source
        paths += [video.name, "" if video.subtitles is None else video.subtitles.path or ""]
    return None if all(map(is_valid, paths)) else "the name of a file isn't valid UTF-8"


def ask_to_json(ask: Ask) -> dict[str, Any]:
    """A question that can be sent, see `unsent`."""
    request = ask.request
    asked = _Asked(
        ask.question,
        tuple(map(_sent, ask.videos)),
        tuple((question, answer) for question, answer in ask.history),
        ask.compare,
        ask.key,
        ask.id,
        ask.part_s,
        ask.stamped,
        request.sampling,
        described(request.method),
        request.generation,
        request.subtitles,
        request.limits,
        request.tuned,
        request.guard,
        request.cautions,
        request.max_tokens,
    )
    document: dict[str, Any] = to_dict(asked)
    return document


def _sent(video: Footage) -> _Shown:
    source, subtitles = video.source, video.subtitles
    # The server has another working directory, so that all paths are sent as absolute ones.
    path = source if isinstance(source, str) else None
    if subtitles is not None and subtitles.path is not None:
        subtitles = replace(subtitles, path=os.path.abspath(subtitles.path))
    assert isinstance(source, (str, tuple)), "it can be sent"
    return _Shown(
        os.path.abspath(source) if isinstance(source, str) else tuple(map(os.path.abspath, source)),
        video.name,
        video.place,
        video.digest,
        subtitles,
        video.sampling,
        video.shown_as or (None if path is None else display_name(path)),
    )


def ask_of_json(sent: Any, defaults: Request) -> Ask:
    """The question that a command sent, asked of the model of `defaults`.

    Raises:
        UsageError: it isn't one, or not as this process understands it.
    """
    try:
        asked: _Asked = from_dict(_Asked, sent)
        method = restore(asked.method)
    except (ValueError, KeyError) as error:
        raise UsageError("the server doesn't understand the question; --no-server works") from error
    # A plug-in file that was edited since has other parameters or defaults in the command.
    if described(method) != asked.method:
        raise UsageError("a plug-in has changed since the server began; restart it")
    request = Request(
        model=defaults.model,
        loading=defaults.loading,
        sampling=asked.sampling,
        method=method,
        generation=asked.generation,
        subtitles=asked.subtitles,
        limits=asked.limits,
        tuned=asked.tuned,
        guard=asked.guard,
        cautions=asked.cautions,
        max_tokens=asked.max_tokens,
    )
    videos = tuple(
        Footage(
            one.source,
            one.name,
            one.place,
            one.digest,
            one.subtitles,
            one.sampling,
            one.shown_as,
            identity=(one.source, one.sampling, _stamp(one.source)),
        )
        for one in asked.videos
    )
    return Ask(
        asked.question,
        request,
        videos,
        asked.history,
        compare=asked.compare,
        key=asked.key,
        id=asked.id,
        part_s=asked.part_s,
        stamped=asked.stamped,
    )


def _stamp(source: str | tuple[str, ...]) -> tuple[tuple[int, int, int] | None, ...]:
    """What differs once a file is overwritten: an encoded video is another one then."""

    def of(path: str) -> tuple[int, int, int] | None:
        try:
            status = os.stat(path)
        except OSError:  # reported when it is opened
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    return tuple(map(of, (source,) if isinstance(source, str) else source))


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
    """An event that a server sent.

    Raises:
        MismatchError: it isn't one that this version sends; another program may listen there.
    """
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
    """A JSON object on one line."""
    return to_json(document).encode() + b"\n"

"""Paths and JSON objects of the local API, which commands and the running server share.

`POST /local/ask` has an `Ask` as its body. The response is a stream of events, one JSON object per
line: `{"event": "text", "text": …}` and so on. The last one is "done" or "error".

`POST /local/batch` streams in both directions. The body is a line with a `Batch`, one with a
`BatchJob` for each video, and `END`; a line with `STOP` ends the batch after the answers under way.
The events are "plan", an "outcome" for each question, and "done" or "error".

`POST /local/stop` ends the server. A request that this server can't answer exactly as the command
would is refused with 409 and the reason; the command then loads the model in its own process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli import plugins
from dycoke_cli.compression.registry import described
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.conversation import Conversation
from dycoke_cli.storage.cache_folder import cache_folder
from dycoke_cli.unicode import to_json
from dycoke_cli.version import __version__
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import AUTO

PREFIX = "/local/"
"""Paths that are served at the unix socket and nowhere else."""
ASK_PATH, BATCH_PATH, STOP_PATH = f"{PREFIX}ask", f"{PREFIX}batch", f"{PREFIX}stop"
MOST_BYTES = 16 * 1024**2
"""The largest request body, and the longest line."""
END, STOP = {"end": True}, {"stop": True}
"""Lines of a batch: after the last video; to end it early."""


@dataclass(frozen=True)
class Setup:
    """How questions are asked. Both processes must agree on everything else.

    Args:
        code: installed code, see `code`.
        model: see `model_key`.
        cache: folder of encoded videos, or None if they aren't cached on disk.
    """

    code: str
    model: str
    loading: LoadOptions
    sampling: Sampling
    limits: Limits
    method: dict[str, Any]
    generation: GenerationOptions
    cache: str | None


@dataclass(frozen=True)
class Ask:
    """A conversation, see `Conversation`; the paths of its videos are absolute."""

    setup: Setup
    subtitles: str | None
    videos: tuple[str, ...]
    questions: tuple[str, ...]
    compare: bool
    follow_up: bool


@dataclass(frozen=True)
class Batch:
    """How the videos of a batch are asked about; `batch_size` is that of `Plan`."""

    setup: Setup
    batch_size: int | None


@dataclass(frozen=True)
class BatchJob:
    """A video with its questions, see `Job`.

    Args:
        path: of the video, absolute.
        shown: its path as the user gave it.
        name: see `Video`.
        questions: id and text of each.
        digest: of the file's content.
    """

    path: str
    shown: str
    name: str
    questions: tuple[tuple[str | None, str], ...]
    digest: str | None


def code() -> str:
    """Identity of the installed code: the release, its folder, and the plug-ins."""
    here = Path(__file__).resolve().parents[2]
    return f"{__version__} {here} {os.environ.get(plugins.ENVIRONMENT, '')}"


def model_key(model: str) -> str:
    """A model's name, or the absolute path of its folder."""
    return os.path.realpath(model) if os.path.isdir(model) else model


def setup_of(request: Request, cache: bool) -> Setup:
    """The setup of a request.

    Args:
        request: how questions are asked.
        cache: whether encoded videos are cached on disk.
    """
    return Setup(
        code=code(),
        model=model_key(request.model),
        loading=request.loading,
        sampling=request.sampling,
        limits=request.limits,
        method=described(request.method),
        generation=request.generation,
        cache=str(cache_folder()) if cache else None,
    )


def ask_of(conversation: Conversation) -> Ask:
    """The request body of a conversation."""
    request = conversation.request
    subtitles = request.subtitles
    # The server has another working directory, so that all paths are sent as absolute ones.
    if subtitles is not None and subtitles != AUTO:
        subtitles = os.path.abspath(subtitles)
    return Ask(
        setup=setup_of(request, conversation.cache),
        subtitles=subtitles,
        videos=tuple(map(os.path.abspath, conversation.videos)),
        questions=tuple(conversation.questions),
        compare=conversation.compare,
        follow_up=conversation.follow_up,
    )


def line_of(document: dict[str, Any]) -> bytes:
    """A JSON object on one line."""
    return to_json(document).encode() + b"\n"

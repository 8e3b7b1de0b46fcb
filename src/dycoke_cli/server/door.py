"""The socket by which commands of the same user find a running server, and what is said there.

It lies in a folder that nobody else can enter. A message is a JSON object on a line: the client
sends one, and gets events until one that is the last. This half is what a command imports.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli import plugins
from dycoke_cli.answer.answer import Answer, Refusal
from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.compression.registry import described
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import DycokeError, OutputError, error_of
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.conversation import Conversation
from dycoke_cli.runs.listener import Listener
from dycoke_cli.storage.cache_folder import cache_folder, is_of_another_user
from dycoke_cli.unicode import display_name, to_json
from dycoke_cli.version import __version__
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.stdin import STDIN
from dycoke_cli.video.subtitles import AUTO

ENVIRONMENT = "DYCOKE_RUNTIME"
"""Names the folder of the socket in place of the one among the user's runtime files."""
STOP = {"stop": True}
_MOST_BYTES = 16 * 1024**2
_STARTS_S = 3.0  # a server that doesn't even take the message in that time is stuck


@dataclass(frozen=True)
class Asking:
    """How questions are asked, as it is sent; what it depends on besides must be alike on both
    sides.

    Args:
        code: which code asks, see `code`.
        cache: the folder of encoded videos, where they are kept.
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
class WarmRequest:
    """A conversation, as it is sent.

    Args:
        videos: whole paths.
    """

    asking: Asking
    subtitles: str | None
    videos: tuple[str, ...]
    questions: tuple[str, ...]
    compare: bool
    follow_up: bool


def runtime_folder() -> Path:
    """The folder of the socket: among the user's runtime files, or else among temporary ones."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    users = os.environ.get("XDG_RUNTIME_DIR")
    if users:
        return Path(users) / "dycoke"
    uid = os.geteuid() if hasattr(os, "geteuid") else "user"
    return Path(tempfile.gettempdir()) / f"dycoke-{uid}"


def socket_path() -> Path:
    """Where the socket is, if a server runs."""
    return runtime_folder() / "serve.sock"


def is_private(folder: Path) -> bool:
    """Whether a folder is this user's own, shut to all others, and no link to another."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    return private and not is_of_another_user(found)


def connect() -> socket.socket | None:
    """A connection to the server that runs; None where there is none that can be trusted."""
    path = socket_path()
    if not hasattr(socket, "AF_UNIX") or not is_private(path.parent):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode) or is_of_another_user(found):
            raise OSError("somebody else's")
        connection.settimeout(_STARTS_S)
        connection.connect(os.fspath(path))
    except OSError:
        connection.close()
        return None
    return connection


def code() -> str:
    """Which code this process runs: the release, where it lies, and the plug-ins."""
    here = Path(__file__).resolve().parents[1]
    return f"{__version__} {here} {os.environ.get(plugins.ENVIRONMENT, '')}"


def model_key(model: str) -> str:
    """A model's name, or the whole path of its folder."""
    return os.path.realpath(model) if os.path.isdir(model) else model


def ask_running(conversation: Conversation, listener: Listener) -> str | None:
    """Have the server that runs hold a conversation.

    Args:
        conversation: what is asked.
        listener: hears of it, as of `converse`.

    Returns:
        None where that was done; else why not, for a person, or "" where no server runs.

    Raises:
        DycokeError: what `converse` raises there; or the server ended while it answered.
    """
    connection = connect()
    if connection is None:
        return ""
    with connection, closing(received(connection)) as events:
        if STDIN in conversation.videos:
            return "the video comes from stdin"
        begun = False
        try:
            connection.sendall(message(to_dict(_sent(conversation))))
            first = next(events, {})
            if first.get("event") != "taken":
                return str(first.get("reason", "it ended"))
            connection.settimeout(None)
            for event in events:
                begun = begun or event.get("event") == "text"
                if _told(event, conversation, listener):
                    return None
        except (OSError, ValueError) as error:
            if isinstance(error, DycokeError):
                raise
            if not begun:
                return "it didn't answer"
        if not begun:
            return "it ended"
    raise DycokeError("the server ended while it answered; run it again")


def stop_running() -> bool:
    """Have the server that runs end; whether there was one.

    Raises:
        OutputError: it doesn't.
    """
    connection = connect()
    if connection is None:
        return False
    with connection:
        try:
            connection.sendall(message(STOP))
            connection.settimeout(30)
            while connection.recv(4096):  # until its process has let go of it
                pass
        except OSError as error:
            raise OutputError("the server doesn't end; end its process by hand") from error
    return True


def message(document: dict[str, Any]) -> bytes:
    """A message on its line."""
    return to_json(document).encode() + b"\n"


def received(connection: socket.socket) -> Generator[dict[str, Any], None, None]:
    """The messages that come.

    Raises:
        OSError: none comes any more, or not in time.
        ValueError: it isn't a message.
    """
    with connection.makefile("rb") as lines:
        while line := lines.readline(_MOST_BYTES):
            try:
                yield json.loads(line)
            except RecursionError as error:
                raise ValueError("too deep") from error


def asking(request: Request, cache: bool) -> Asking:
    """What is sent of a request.

    Args:
        request: how questions are asked.
        cache: whether encoded videos are kept on disk.
    """
    return Asking(
        code=code(),
        model=model_key(request.model),
        loading=request.loading,
        sampling=request.sampling,
        limits=request.limits,
        method=described(request.method),
        generation=request.generation,
        cache=str(cache_folder()) if cache else None,
    )


def _sent(conversation: Conversation) -> WarmRequest:
    request = conversation.request
    subtitles = request.subtitles
    if subtitles is not None and subtitles != AUTO:
        subtitles = os.path.abspath(subtitles)
    return WarmRequest(
        asking=asking(request, conversation.cache),
        subtitles=subtitles,
        videos=tuple(map(os.path.abspath, conversation.videos)),
        questions=tuple(conversation.questions),
        compare=conversation.compare,
        follow_up=conversation.follow_up,
    )


def _told(event: dict[str, Any], conversation: Conversation, listener: Listener) -> bool:
    """Tell the listener of an event; whether it was the last."""
    kind = event["event"]
    if kind == "error":
        raise error_of(event["code"], _as_given(event["message"], conversation))
    if kind == "stage":
        listener.stage(event["stage"], event["done"], event["total"])
    elif kind == "text":
        if listener.on_text is not None:
            listener.on_text(event["text"])
    elif kind == "begin":
        listener.begin(event["text"])
    elif kind == "begin_comparison":
        listener.begin_comparison()
    elif kind == "finish":
        listener.finish(_answer(event["answer"], conversation))
    elif kind in ("warning", "advise"):
        getattr(listener, kind)(_as_given(event["text"], conversation))
    return kind == "done"


def _answer(document: dict[str, Any], conversation: Conversation) -> Answer:
    """An answer, with videos and sentences as if it had been given here."""
    given = dict(zip(map(os.path.abspath, conversation.videos), conversation.videos, strict=True))

    def restored(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: restored(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [restored(one, key) for one in value]
        if key == "video":
            return given.get(value, value)
        return _as_given(value, conversation) if key == "warnings" else value

    answer: Answer = from_dict(Answer | Refusal, restored(document))
    return answer


def _as_given(sentence: str, conversation: Conversation) -> str:
    """A sentence with the names of videos and subtitles as they were given."""
    named = [*conversation.videos, conversation.request.subtitles or AUTO]
    for name in named:
        sentence = sentence.replace(display_name(os.path.abspath(name)), display_name(name))
    return sentence

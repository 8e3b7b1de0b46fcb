"""Client of the local API: conversations of `dycoke ask`, and stopping a server."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator
from typing import Any

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_bounds import Bounds, parse
from dycoke_cli.answer.json_reader import MismatchError, from_dict
from dycoke_cli.answer.json_schema import Amount, Count, to_dict
from dycoke_cli.errors import DycokeError, OutputError, error_of
from dycoke_cli.runs.conversation import Conversation
from dycoke_cli.runs.listener import Listener
from dycoke_cli.server.local.unix_socket import connect, socket_identity
from dycoke_cli.server.local.wire import ASK_PATH, MOST_BYTES, STOP_PATH, ask_of, line_of
from dycoke_cli.unicode import display_name, is_valid
from dycoke_cli.video.file_names import STDIN
from dycoke_cli.video.subtitles import AUTO

NOT_UTF_8 = "the name of a file isn't valid UTF-8"
_STOP_TIMEOUT_S = 30.0  # a stopping server finishes the answer under way
_POLL_S = 0.02
_TEXT = {"text": str}
_KEYS: dict[str | None, dict[str, Any]] = {
    None: {"stopping": bool},
    "advise": _TEXT,
    "begin": _TEXT,
    "begin_comparison": {},
    "done": {},
    "error": {"code": str, "message": str},
    "finish": {"answer": Answer},
    "outcome": {"key": str, "line": dict[str, Any], "seconds": Amount, "together": Count},
    "plan": {"method": dict[str, Any], "identity": Any},
    "stage": {"stage": str, "done": Count, "total": Count},
    "text": _TEXT,
    "warning": _TEXT,
}
"""Keys of each event, with their types; a response that isn't a stream is an event without name."""


class UnansweredError(Exception):
    """The reason why the running server doesn't answer, or not completely, as a sentence."""


def post(path: str, body: bytes | None) -> bytes:
    """A POST request.

    Args:
        path: of the local API.
        body: JSON; None if it follows in chunks.
    """
    length = "Transfer-Encoding: chunked" if body is None else f"Content-Length: {len(body)}"
    kind = "Content-Type: application/json"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{length}\r\n\r\n".encode() + (
        body or b""
    )


def events(connection: socket.socket, request: bytes) -> Generator[dict[str, Any], None, None]:
    """Send a request, and yield the events of the response as they arrive.

    Args:
        connection: of `connect`.
        request: see `post`.

    Raises:
        UnansweredError: the server refuses the request, doesn't respond in time, or ends. Also
            raised after the last event: the caller stops at "done" or "error".
    """
    try:
        connection.sendall(request)
        # Imported after the request is sent: it takes 15 ms, during which the server works.
        from http.client import HTTPException, HTTPResponse
    except OSError as error:
        raise UnansweredError("it didn't answer") from error
    response = HTTPResponse(connection, method="POST")
    try:
        response.begin()
        if response.status != 200:
            raise UnansweredError(_reason(response.read(MOST_BYTES), response.status))
        # No timeout from here: a long prefill sends no events.
        connection.settimeout(None)
        while line := response.readline(MOST_BYTES):
            yield _event(line)
    except (OSError, HTTPException, ValueError) as error:
        raise UnansweredError("it didn't answer") from error
    finally:
        response.close()
    raise UnansweredError("it ended")


def ask_running(conversation: Conversation, listener: Listener) -> str | None:
    """Ask the running server the questions of a conversation.

    Args:
        conversation: videos and questions.
        listener: receives progress and answers, as from `converse`.

    Returns:
        None if the server answered; else the reason as a sentence, "" if no server is running.

    Raises:
        DycokeError: `converse` raised it there; or the server ended while it answered.
    """
    connection = connect()
    if connection is None:
        return ""
    begun = False
    with connection:
        if STDIN in conversation.videos:
            return "the video comes from stdin"
        if not all(map(is_valid, (*conversation.videos, conversation.request.subtitles or ""))):
            return NOT_UTF_8
        request = post(ASK_PATH, line_of(to_dict(ask_of(conversation))))
        try:
            for event in events(connection, request):
                begun = begun or event.get("event") == "text"
                if event.get("event") == "done":
                    return None
                _relay(event, conversation, listener)
        except UnansweredError as reason:
            # Once text was shown, answering again in this process would show it twice.
            if not begun:
                return str(reason)
    raise DycokeError("the server ended while it answered; run it again")


def stop_running() -> bool:
    """Stop the running server and wait for its end; returns whether there was one.

    Raises:
        OutputError: it doesn't end.
    """
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


def _event(line: bytes) -> dict[str, Any]:
    """Parse an event.

    Raises:
        ValueError: it isn't one that this version sends; another program may listen there.
    """
    event: dict[str, Any] = from_dict(dict[str, Any], parse(line, Bounds(MOST_BYTES)))
    kind = event.get("event")
    if not isinstance(kind, str | None) or kind not in _KEYS:
        raise MismatchError("no event")
    for key, hint in _KEYS[kind].items():
        from_dict(hint, event.get(key))
    if kind == "outcome" and "error" in event["line"]:
        for key in ("code", "message"):
            from_dict(str, from_dict(dict[str, Any], event["line"]["error"]).get(key))
    return event


def _reason(body: bytes, status: int) -> str:
    """The reason in the response of a refused request."""
    try:
        return str(parse(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it refused the request (HTTP {status})"


def _relay(event: dict[str, Any], conversation: Conversation, listener: Listener) -> None:
    """Pass an event on to the listener.

    Raises:
        DycokeError: the event is an error.
    """
    kind = event.get("event")
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


def _answer(document: dict[str, Any], conversation: Conversation) -> Answer:
    """An answer with the paths that the user gave in place of absolute ones."""
    given = dict(zip(map(os.path.abspath, conversation.videos), conversation.videos, strict=True))

    def restored(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: restored(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [restored(one, key) for one in value]
        if key == "video":
            return given.get(value, value)
        return _as_given(value, conversation) if key == "warnings" else value

    answer: Answer = from_dict(Answer, restored(document))
    return answer


def _as_given(sentence: str, conversation: Conversation) -> str:
    """A sentence with the paths of videos and subtitles as the user gave them."""
    for name in (*conversation.videos, conversation.request.subtitles or AUTO):
        sentence = sentence.replace(display_name(os.path.abspath(name)), display_name(name))
    return sentence

"""The client of the local API: a conversation of `dycoke ask`, and the end of a server."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Generator
from typing import Any

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.errors import DycokeError, OutputError, error_of
from dycoke_cli.runs.conversation import Conversation
from dycoke_cli.runs.listener import Listener
from dycoke_cli.server.local.unix_socket import connect, socket_identity
from dycoke_cli.server.local.wire import ASK_PATH, MOST_BYTES, STOP_PATH, ask_of, line_of
from dycoke_cli.unicode import display_name, is_valid
from dycoke_cli.video.stdin import STDIN
from dycoke_cli.video.subtitles import AUTO

NOT_UTF_8 = "the name of a file isn't valid UTF-8"
_ENDS_S = 30.0  # a server, with an answer that is under way
_LOOK_EVERY_S = 0.02


class UnansweredError(Exception):
    """Why the running server doesn't answer, or not to the end; for a person."""


def post(path: str, body: bytes | None) -> bytes:
    """A POST request.

    Args:
        path: of the local API.
        body: JSON; None where it follows in chunks.
    """
    length = "Transfer-Encoding: chunked" if body is None else f"Content-Length: {len(body)}"
    kind = "Content-Type: application/json"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{length}\r\n\r\n".encode() + (
        body or b""
    )


def events(connection: socket.socket, request: bytes) -> Generator[dict[str, Any], None, None]:
    """Send a request, and read the events of the reply as they come.

    Args:
        connection: of `connect`.
        request: see `post`.

    Raises:
        UnansweredError: the server refuses the request, doesn't reply in time, or has ended; also
            behind the last event, which says that it is the last.
    """
    try:
        connection.sendall(request)
        # Only now: the import takes 15 ms, during which the server works already.
        from http.client import HTTPException, HTTPResponse
    except OSError as error:
        raise UnansweredError("it didn't answer") from error
    response = HTTPResponse(connection, method="POST")
    try:
        response.begin()
        if response.status != 200:
            raise UnansweredError(_reason(response.read(MOST_BYTES), response.status))
        connection.settimeout(None)
        while line := response.readline(MOST_BYTES):
            yield json.loads(line)
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise UnansweredError("it didn't answer") from error
    finally:
        response.close()
    raise UnansweredError("it ended")


def ask_running(conversation: Conversation, listener: Listener) -> str | None:
    """Have the running server hold a conversation.

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
    begun = False
    with connection:
        if STDIN in conversation.videos:
            return "the video comes from stdin"
        if not all(map(is_valid, (*conversation.videos, conversation.request.subtitles or ""))):
            return NOT_UTF_8
        request = post(ASK_PATH, line_of(to_dict(ask_of(conversation))))
        try:
            for event in events(connection, request):
                begun = begun or event["event"] == "text"
                if _is_last(event, conversation, listener):
                    return None
        except UnansweredError as reason:
            if not begun:
                return str(reason)
    raise DycokeError("the server ended while it answered; run it again")


def stop_running() -> bool:
    """End the running server, and wait until it has ended; whether there was one.

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
    until = time.monotonic() + _ENDS_S
    while before is not None and socket_identity() == before:  # removed when all else has ended
        if time.monotonic() > until:
            raise OutputError(stuck)
        time.sleep(_LOOK_EVERY_S)
    return True


def _reason(body: bytes, status: int) -> str:
    """Why a request is refused."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it refused the request (HTTP {status})"


def _is_last(event: dict[str, Any], conversation: Conversation, listener: Listener) -> bool:
    """Pass an event on to the listener; whether it was the last.

    Raises:
        DycokeError: the event is an error.
    """
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

    answer: Answer = from_dict(Answer, restored(document))
    return answer


def _as_given(sentence: str, conversation: Conversation) -> str:
    """A sentence with the names of videos and subtitles as they were given."""
    named = [*conversation.videos, conversation.request.subtitles or AUTO]
    for name in named:
        sentence = sentence.replace(display_name(os.path.abspath(name)), display_name(name))
    return sentence

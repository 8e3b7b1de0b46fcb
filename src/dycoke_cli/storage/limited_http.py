"""Limits on the responses of untrusted servers: of `--server`, the judge and the model hub.

They are hooks of the client library (httpx or httpx2, whichever the installed release uses), whose
own timeouts limit each wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

from dycoke_cli.answer.json_schema import Bounds, BoundsError, count_values
from dycoke_cli.errors import DycokeError

IS_FILE = "dycoke_file"
"""Key of a request's `extensions`: whether what it asks for is a file, which has no limit."""


class LimitError(DycokeError):
    """A response exceeds a limit; the message says which, such as "it has the encoding 'gzip'"."""


def limiting(seconds: float, bounds: Bounds) -> dict[str, list[Callable[[Any], None]]]:
    """Hooks of a client (`event_hooks`), which raise `LimitError`.

    Its requests ask for content without an encoding, and a response that has one is refused: a few
    bytes of it can stand for gigabytes.

    Args:
        seconds: for the body of a response.
        bounds: of the body. Of a stream of events, the number of values holds for each event.
    """

    def ask(request: Any) -> None:
        request.headers["Accept-Encoding"] = "identity"

    # Called with each response, those of redirects too, before its body is read.
    def limit(response: Any) -> None:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity") and response.request.method != "HEAD":
            raise LimitError(f"it has the encoding {encoding[:40]!r}, which wasn't asked for")
        if response.is_success and response.request.extensions.get(IS_FILE):
            return
        is_events = "event-stream" in response.headers.get("content-type", "")
        library: Any = import_module(type(response).__module__.partition(".")[0])
        whole = response.stream

        class ResponseBody(library.SyncByteStream):
            """Body of a response, which counts what it hands out."""

            def __iter__(self) -> Iterator[bytes]:
                return _limited(whole, seconds, bounds, is_events)

            def close(self) -> None:
                whole.close()

        response.stream = ResponseBody()
        if not (response.is_success and is_events):
            _check(bounds.check, response.read())

    return {"request": [ask], "response": [limit]}


def _limited(
    body: Iterable[bytes], seconds: float, bounds: Bounds, is_events: bool
) -> Iterator[bytes]:
    until = time.monotonic() + seconds
    total = values = 0
    for piece in body:
        total += len(piece)
        _check(bounds.check_length, total)
        if time.monotonic() > until:  # equivalent: no clock stands at a moment
            raise LimitError(f"it doesn't end within {seconds:g} s")
        if is_events:
            # A library parses events one by one, and an empty line is the end of one.
            end = piece.rfind(b"\n\n") + 1
            _check(bounds.check_values, values + count_values(piece[:end]))
            values = count_values(piece[end:]) + (0 if end else values)
            _check(bounds.check_values, values)
        yield piece


def _check(check: Callable[[Any], None], value: Any) -> None:
    try:
        check(value)
    except BoundsError as error:
        raise LimitError(str(error)) from error

"""HTTP clients for untrusted servers, with limits on the time and content of each response.

A class for every client of the project: servers (`--server`), the judge and the model hub.
It is made from the class of the client library (httpx or httpx2, whichever the installed
release uses), so proxies and certificates of the environment are honoured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from importlib import import_module
from threading import Thread
from typing import Any

from dycoke_cli.answer.json_schema import Bounds, BoundsError, count_values
from dycoke_cli.errors import DycokeError


class LimitError(DycokeError):
    """A response exceeds a limit; the message says which, such as "it has the encoding 'gzip'"."""


@dataclass(frozen=True)
class HttpLimits:
    """Limits on a response."""

    seconds: float  # for a response; of a streamed one for its headers, and again for its body
    bounds: Bounds  # of the body. Of a stream of events, the number of values holds for each event.
    # whether a streamed response is a file, which is saved and has no limit; errors and redirects
    # have
    files: bool = False


def limited(client: Any, limits: HttpLimits) -> Any:
    """A subclass of a client class, with limits.

    Its requests ask for content without an encoding, and a response that has one is refused: a few
    bytes of it can stand for gigabytes. Its methods raise `LimitError`, beside the library's own
    exceptions; no response within the time is a `ReadTimeout` of the library.

    Args:
        client: `Client` of httpx or httpx2, or a subclass.
    """
    library: Any = _library(client)

    class ResponseBody(library.SyncByteStream):
        """Body of a response, which counts what it hands out."""

        is_file = is_events = False

        def __init__(self, body: Any) -> None:
            self._body = body

        def __iter__(self) -> Iterator[bytes]:
            until = time.monotonic() + limits.seconds
            total, values = 0, 0
            for piece in self._body:
                if not self.is_file:
                    total += len(piece)
                    _check(limits.bounds.check_length, total)
                    if time.monotonic() > until:
                        raise LimitError(f"it doesn't end within {limits.seconds:g} s")
                if self.is_events:
                    # A library parses events one by one, and an empty line is the end of one.
                    end = piece.rfind(b"\n\n") + 1
                    _check(limits.bounds.check_values, values + count_values(piece[:end]))
                    values = count_values(piece[end:]) + (0 if end else values)
                    _check(limits.bounds.check_values, values)
                yield piece

        def close(self) -> None:
            self._body.close()

    class Limited(client):
        """The client with limits."""

        def __init__(self, **options: Any) -> None:
            hooks = dict(options.pop("event_hooks", {}))
            # Called with each response, those of redirects too, before its body is read.
            hooks["response"] = [self._limit, *hooks.get("response", [])]
            super().__init__(event_hooks=hooks, **options)

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            """Send a request; see the library's `Client.send`."""
            request.headers["Accept-Encoding"] = "identity"
            # The library's timeouts are for each read: a byte now and then extends them forever.
            response: Future[Any] = Future()
            work = (_settle, response, lambda: self._whole(request, stream, options))
            Thread(target=copy_context().run, args=work, daemon=True, name="http").start()
            try:
                wait([response], limits.seconds)
                if not response.done():
                    reason = f"no whole response within {limits.seconds:g} s"
                    raise library.ReadTimeout(reason, request=request)
            except BaseException:
                response.add_done_callback(_close)
                raise
            return response.result()

        def _whole(self, request: Any, stream: bool, options: dict[str, Any]) -> Any:
            response = super().send(request, stream=True, **options)
            try:
                if stream and response.is_success:
                    response.stream.is_file = limits.files
                    kind = response.headers.get("content-type", "")
                    response.stream.is_events = "event-stream" in kind
                else:
                    _check(limits.bounds.check, response.read())
            except BaseException:
                response.close()
                raise
            return response

        def _limit(self, response: Any) -> None:
            encoding = response.headers.get("content-encoding", "identity").strip().lower()
            if encoding not in ("", "identity") and response.request.method != "HEAD":
                raise LimitError(f"it has the encoding {encoding[:40]!r}, which wasn't asked for")
            response.stream = ResponseBody(response.stream)

    return Limited


def http_library() -> Any:
    """httpx or httpx2, whichever the installed hub client uses."""
    from huggingface_hub import get_session

    return _library(type(get_session()))


def _library(client: Any) -> Any:
    return import_module(client.build_request.__module__.partition(".")[0])


def _check(check: Callable[[Any], None], value: Any) -> None:
    try:
        check(value)
    except BoundsError as error:
        raise LimitError(str(error)) from error


def _settle(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _close(future: Future[Any]) -> None:
    """Close a response that came when nobody waited for it any more."""
    if future.exception() is None:
        future.result().close()

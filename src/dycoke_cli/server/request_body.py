"""The body of a request: read within limits of size and time, its videos to files.

A request may have hundreds of megabytes of video, as base64 in a JSON string. Such strings never
are in memory as a whole: each is written to a file and replaced by a short random name. The rest is
limited in size and in values, so that it is parsed in a moment.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request

from dycoke_cli.answer.json_schema import Bounds, BoundsError, count_values
from dycoke_cli.server.limits import Admission
from dycoke_cli.server.refused import Refused
from dycoke_cli.unicode import display_name

# A schema may have 64 levels.
_BOUNDS = Bounds(depth=80)


def check_declared(http: Request, most: int) -> None:
    """Check the type and length of a body, as far as its header tells."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused("the body must be JSON (Content-Type: application/json)", status=415)
    coding = http.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        shown = display_name(coding)[:100]
        raise Refused(f"the body must not be compressed (Content-Encoding: {shown})", status=415)
    length = http.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > most):
        raise _too_long(most)


def parse_json(body: bytes) -> Any:
    """The JSON value of a body."""
    try:
        _BOUNDS.check(body)
        return json.loads(body, object_pairs_hook=_object)
    except BoundsError as error:
        raise Refused(f"the body can't be read: {error}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(f"the body isn't JSON: {error.msg} at {where}") from error
    except ValueError as error:
        raise Refused("the body isn't JSON") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise Refused(f"the body has the key {display_name(twice)[:100]} twice in one object")
    return found


def too_large(sentence: str, parameter: str | None = None) -> Refused:
    """The refusal of a body that is too large in some way."""
    return Refused(sentence, parameter, status=413, code="too_large")


def _too_long(most: int) -> Refused:
    return too_large(f"the body is larger than {most / 1024**2:.0f} MiB")


_SMALL = 4096
"""Characters of a video that stays in the JSON text."""
_BASE64_KEYS = (b"data", b"data_base64")
_MEDIA_KEYS = frozenset((b"url", b"video_url", b"image_url", *_BASE64_KEYS))
_BASE64_URL = re.compile(r"data:([^;,]*)[^\0]*?;base64,", re.IGNORECASE)
# All of a string's content that is whole: up to its end, or to an escape that is cut off.
_CONTENT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
_BETWEEN = 64  # more than a colon with its spaces
_QUOTE = ord('"')
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class BodyLimits:
    """Limits on the body of a request."""

    most_bytes: int  # of all of it
    most_json_bytes: int = 1024**2  # of what isn't video
    most_values: int = 20_000  # strings, brackets and commas of the JSON text
    timeout_s: float = 60.0  # seconds for all of it to come
    progress_s: float = 10.0  # seconds in which the next part must come


@dataclass(frozen=True)
class Spooled:
    """A video of a body, in a file that it shares with the body's other videos."""

    file: IO[bytes]  # of the body
    start: int  # offset of its first byte
    size: int  # of its base64, in bytes, escapes of JSON included


def data_url(url: str) -> tuple[str, int]:
    """Type of a base64 `data:` URL (RFC 2397), in lower case, and where its content begins.

    The type is empty where the URL has none; the place is 0 where it isn't such a URL. Parameters
    of the type may have commas, as browsers write `codecs=vp8,opus`.
    """
    match = _BASE64_URL.match(url)
    return ("", 0) if match is None else (match[1].strip().lower(), match.end())


@asynccontextmanager
async def received(
    http: Request, limits: BodyLimits, admission: Admission, scanners: CapacityLimiter
) -> AsyncIterator[BodyScanner]:
    """Receive a body; its files are there, and its bytes counted, for the length of the block.

    Args:
        admission: counts the bytes of all requests.
        scanners: threads that scan bodies.
    """
    check_declared(http, limits.most_bytes)
    with ExitStack() as stack:
        count = stack.enter_context(admission.receiving())
        scanner = BodyScanner(limits, stack)
        pieces = http.stream()
        total, waiting, more = 0, bytearray(), True
        try:
            async with asyncio.timeout(limits.timeout_s):
                while more:
                    async with asyncio.timeout(limits.progress_s):
                        piece = await anext(pieces, None)
                    more = piece is not None
                    waiting += piece or b""
                    total += len(piece or b"")
                    if total > limits.most_bytes:
                        raise _too_long(limits.most_bytes)
                    # In a thread: the event loop answers others meanwhile.
                    if waiting and (not more or len(waiting) >= _PIECE_BYTES):
                        await run_sync(scanner.feed, bytes(waiting), limiter=scanners)
                        waiting.clear()
                        count(len(scanner.json), scanner.media_bytes)
        except TimeoutError as error:
            raise Refused("the body didn't come in time", status=408, code="timeout") from error
        yield scanner


class BodyScanner:
    """Divides a body into JSON text and videos."""

    def __init__(self, limits: BodyLimits, stack: ExitStack) -> None:
        self._limits, self._stack = limits, stack
        self.json = bytearray()
        self.media: dict[str, Spooled] = {}
        self.media_bytes = self._begun = 0
        self._values = 0
        self._cut_off = b""  # an escape whose second character is still to come
        self._inside = False
        self._start: bytearray | None = None  # of a string that may be a video
        self._name: str | None = None  # of a string that is one
        # One for all videos: the system limits how many files are open.
        self._file: IO[bytes] | None = None
        self._last = self._between = b""  # the string before, and what is behind it
        self._key = b""

    def feed(self, piece: bytes) -> None:
        """Take the next part of the body."""
        piece, self._cut_off = self._cut_off + piece, b""
        position = 0
        while position < len(piece):
            if not self._inside:
                quote = piece.find(b'"', position)
                end = len(piece) if quote < 0 else quote
                self._add_structure(piece[position:end])
                if quote >= 0:
                    self._open()
            else:
                end = _end_of_content(piece, position)
                self._add_content(piece[position:end])
                if end < len(piece) and piece[end] != _QUOTE:
                    self._cut_off = piece[end:]
                    return
                if end < len(piece):
                    self._close()
            position = end + 1

    def _add_structure(self, text: bytes) -> None:
        self._keep(text)
        self._count(count_values(text))
        self._between = (self._between + text)[:_BETWEEN]

    def _open(self) -> None:
        self._count(1)
        self._keep(b'"')
        self._inside = True
        is_value = _COLON.fullmatch(self._between) is not None
        self._start = bytearray() if is_value and self._last in _MEDIA_KEYS else None
        self._key, self._last, self._between = self._last, b"", b""

    def _add_content(self, text: bytes) -> None:
        if self._name is not None and self._file is not None:
            self._file.write(text)
            self.media_bytes += len(text)
        elif self._start is not None:
            self._start += text
            if len(self._start) > _SMALL:
                self._begin_media(bytes(self._start))
        else:
            self._keep(text)
            self._last = (self._last + text)[:_BETWEEN]

    def _begin_media(self, start: bytes) -> None:
        """Write a long string to a file if it is a video; else it is text as any other."""
        self._start = None
        head = data_url(start.decode("latin-1"))[1]
        if not (head or self._key in _BASE64_KEYS):
            self._keep(start)
            return
        self._name = secrets.token_hex(16)  # none that a client could have put there
        self._keep(start[:head] + self._name.encode())
        if self._file is None:
            file = tempfile.TemporaryFile()  # noqa: SIM115 (the stack closes it)
            self._file = self._stack.enter_context(file)
        self._begun = self.media_bytes
        self._add_content(start[head:])

    def _close(self) -> None:
        self._inside = False
        if self._start is not None:
            self._keep(bytes(self._start))
        if self._name is not None and self._file is not None:
            size = self.media_bytes - self._begun
            self.media[self._name] = Spooled(self._file, self._begun, size)
        self._start = self._name = None
        self._keep(b'"')

    def _keep(self, text: bytes) -> None:
        self.json += text
        most = min(self._limits.most_json_bytes, self._limits.most_bytes)
        if len(self.json) > most:
            raise too_large(
                f"the body has more than {most / 1024**2:g} MiB beside its videos "
                "(data:video/…;base64,…)"
            )

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > self._limits.most_values:
            raise too_large(f"the body has more than {self._limits.most_values} values")


def _end_of_content(piece: bytes, position: int) -> int:
    """Where the content of a string ends: at its quote, or at the end of the piece."""
    quote = piece.find(b'"', position)
    end = len(piece) if quote < 0 else quote
    if piece.find(b"\\", position, end) < 0:
        return end  # ten times as fast as the expression, which matters for videos
    match = _CONTENT.match(piece, position)
    assert match is not None  # it matches nothing, too
    return match.end()

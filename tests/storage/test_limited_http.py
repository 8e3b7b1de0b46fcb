"""Responses of hostile servers, through the stock client with limits."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.storage.limited_http import IS_FILE, LimitError, limiting

LIMITS = (0.3, Bounds(nbytes=65536, values=100, depth=8))
MEGABYTE = b" " * 2**20
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


class Pieces(httpx2.SyncByteStream):
    """A body in pieces, which counts those that were read."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.read, self.closed = pieces, 0, False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.read += 1
            yield piece

    def close(self) -> None:
        self.closed = True


def client(body: httpx2.SyncByteStream, **response: Any) -> Any:
    """A client whose server answers with a body."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers.get_list("accept-encoding") == ["identity"]
        if request.url.path == "/moved":
            return httpx2.Response(302, headers={"location": "/"}, stream=body)
        return httpx2.Response(**{"status_code": 200, "stream": body, **response})

    return openai.DefaultHttpxClient(
        transport=httpx2.MockTransport(answer),
        base_url="http://server",
        event_hooks=limiting(*LIMITS),
    )


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(MEGABYTE)),
        ("GZip", gzip.compress(b"{}")),
        ("deflate", zlib.compress(MEGABYTE)),
        ("br", b"?"),
        ("zstd", b"?"),
        ("identity, gzip", gzip.compress(MEGABYTE)),
        ("unknown", b"?"),
    ],
    # What gzip writes has the time of day in it, and tests are named alike in each process.
    ids=lambda value: value if isinstance(value, str) else "content",
)
@pytest.mark.parametrize("status", [200, 404, 302])
@pytest.mark.parametrize("stream", [False, True])
def test_an_encoding_is_refused_before_the_body_is_read(
    encoding: str, content: bytes, status: int, stream: bool
) -> None:
    body = Pieces(content)
    asking = client(
        body, status_code=status, headers={"content-encoding": encoding, "location": "/"}
    )
    request = asking.build_request("GET", "/", extensions={IS_FILE: stream})
    with pytest.raises(LimitError, match="has the encoding"):
        asking.send(request, stream=stream)
    assert (body.read, body.closed) == (0, True)


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ([b" " * 40_000, b" " * 40_000, b"unread"], "larger than 65,536 bytes"),
        ([b"[" + b"[]," * 100 + b"[]]"], "more than 100 values"),
        ([b"[" * 9], "nested more than 8 deep"),
        ([json.dumps([[]] * 200).encode("utf-32")], "isn't UTF-8"),
    ],
)
@pytest.mark.parametrize(("status", "stream"), [(200, False), (500, False), (500, True)])
def test_a_document_is_limited_before_it_is_parsed(
    pieces: list[bytes], says: str, status: int, stream: bool
) -> None:
    body = Pieces(*pieces)
    asking = client(body, status_code=status)
    with pytest.raises(LimitError, match=says):
        asking.send(asking.build_request("GET", "/", extensions={IS_FILE: stream}), stream=stream)
    assert body.closed
    assert body.read <= 2


def test_the_body_of_a_redirect_is_limited() -> None:
    body = Pieces(MEGABYTE)
    asking = client(body)
    request = asking.build_request("GET", "/moved", extensions={IS_FILE: True})
    with pytest.raises(LimitError, match="larger than"):
        asking.send(request, stream=True)
    assert client(Pieces(b"{}")).get("/moved").json() == {}


def test_events_are_limited_one_by_one_and_together() -> None:
    event = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'

    def read(*pieces: bytes) -> bytes:
        asking = client(Pieces(*pieces), headers=EVENTS)
        with asking.stream("GET", "/") as response:
            return b"".join(response.iter_bytes())

    # 250 values in all, few of them in an event, however the events are cut.
    assert read(*[event] * 50) == event * 50
    assert read(*(event[:20], event[20:]) * 50) == event * 50
    with pytest.raises(LimitError, match="more than 100 values"):
        read(b"data: [", *[b"[],"] * 100)
    with pytest.raises(LimitError, match="more than 100 values"):
        read(event, b"data: [" + b"[]," * 100, b"\n\n")
    # Of an event in two pieces, each of which has few enough.
    with pytest.raises(LimitError, match="more than 100 values"):
        read(b"data: [" + b"[]," * 40, b"[]," * 40 + b"[]]\n\n")
    with pytest.raises(LimitError, match="larger than"):
        read(*[event] * 2000)


def test_a_file_has_no_limit_but_an_encoding_is_refused() -> None:
    asking = client(Pieces(*[MEGABYTE] * 3))
    with asking.stream("GET", "/", extensions={IS_FILE: True}) as response:
        assert sum(map(len, response.iter_bytes())) == 3 * 2**20


def test_a_head_without_a_body_may_name_an_encoding() -> None:
    asking = client(Pieces(), headers={"content-encoding": "gzip"})
    assert asking.head("/").status_code == 200


def test_the_time_of_a_body_is_limited() -> None:
    """Also where each read takes little time."""

    class Slow(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                time.sleep(0.05)
                yield b" "

    for headers in ({}, EVENTS):
        with pytest.raises(LimitError, match=r"doesn't end within 0\.3 s"):
            client(Slow(), headers=headers).get("/")


def test_an_error_of_the_library_stays_one() -> None:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("nobody")

    asking = httpx2.Client(transport=httpx2.MockTransport(fail), event_hooks=limiting(*LIMITS))
    with pytest.raises(httpx2.ConnectError, match="nobody"):
        asking.get("http://server")

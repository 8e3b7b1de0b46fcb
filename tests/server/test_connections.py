"""Idle and slow connections: they are closed in time, and a new one always gets in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.server import ServerState

from dycoke_cli.server.lifetime import ConnectionLimits, LimitedProtocol
from dycoke_cli.server.request_body import BodyLimits
from tests.server.pretended import BODY_LIMIT, HEAD, PATIENCE_S, Running, body_of, running

BEGUN = f"{HEAD}Content-Length: 1000\r\n\r\n{{".encode()


@contextlib.contextmanager
def connected(server: Running, *sent: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have sent so much each, and send no more."""
    with ExitStack() as stack:
        found = []
        for each in sent:
            one = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
            found.append(stack.enter_context(one))
            one.sendall(each)
        yield found


def is_closed(one: socket.socket) -> bool:
    """Whether the server closes a connection, for which this waits."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def is_open(one: socket.socket) -> bool:
    """Whether the server hasn't closed a connection yet."""
    one.setblocking(False)
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.parametrize("sent", [b"", b"GET /hea", BEGUN], ids=["idle", "header", "body"])
def test_many_that_wait_keep_nobody_out(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    limits = ConnectionLimits(most=8, most_per_address=8)
    with running(monkeypatch, connections=limits) as server, connected(server, *[sent] * 60):
        began = time.monotonic()
        assert server.request("GET", "/health")[0] == 200
        assert server.ask("What?")[0] == 200
        assert time.monotonic() - began < 2


def test_an_address_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ConnectionLimits(most=100, most_per_address=3)
    with (
        running(monkeypatch, connections=limits) as server,
        connected(server, *[b""] * 4) as (first, *others),
    ):
        assert is_closed(first)
        assert all(is_open(one) for one in others)


def test_a_request_with_the_key_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered though its body began before all connections that wait without a key."""
    limits = ConnectionLimits(most=3, most_per_address=3)
    body = body_of("What?")
    head = f"{HEAD}Authorization: Bearer secret\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with (
        running(monkeypatch, key="secret", connections=limits) as server,
        connected(server, head + body[:5]) as (one,),
    ):
        server.request("GET", "/health")  # by now, the header has been read
        with connected(server, *[b""] * 10):
            one.sendall(body[5:])
            assert b" 200 " in one.recv(100)


def test_a_header_must_come(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ConnectionLimits(header_s=0.3)
    answered = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        running(monkeypatch, connections=limits) as server,
        connected(server, b"", b"GET /hea", answered) as (idle, slow, next_one),
    ):
        server.pretended.pause_s = 0.6  # an answer may take longer
        assert server.ask("What?")[0] == 200
        assert is_closed(idle)
        assert is_closed(slow)
        while next_one.recv(1000):  # the reply, and the end: the next header didn't come
            pass


def test_a_body_must_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = BodyLimits(BODY_LIMIT, progress_s=0.2)
    with running(monkeypatch, bodies=bodies) as server, connected(server, BEGUN) as (one,):
        assert b" 408 " in one.recv(100)


@pytest.mark.parametrize("taken", [False, True])
def test_what_is_sent_must_be_taken(taken: bool) -> None:
    """The transport calls `pause_writing` where a client's buffers are full."""
    transport = Mock(get_extra_info=lambda name: ("127.0.0.1", 1) if name == "sockname" else None)

    async def hold() -> None:
        protocol = LimitedProtocol(
            limits=ConnectionLimits(write_s=0.02),
            has_key=lambda headers: False,
            config=uvicorn.Config(Mock(), log_config=None),
            server_state=ServerState(),
            app_state={},
        )
        protocol.connection_made(transport)
        protocol.pause_writing()
        if taken:
            protocol.resume_writing()
        await asyncio.sleep(0.1)

    asyncio.run(hold())
    assert transport.abort.called is not taken


def test_a_body_in_very_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes the event loop as long as a large one."""
    limits = ConnectionLimits(most_small_chunks=10)
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    body = body_of("What?")
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    small = b"".join(b"1\r\n%c\r\n" % letter for letter in body)
    with (
        running(monkeypatch, connections=limits) as server,
        connected(server, head + whole, head + small) as (one, other),
    ):
        assert b" 200 " in one.recv(100)
        assert is_closed(other)

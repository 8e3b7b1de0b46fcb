"""The server over its socket, its model pretended: clients that misbehave are stopped."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dycoke_cli.server.request_body import BodyLimits
from tests.server.pretended import (
    BODY_LIMIT,
    CHAT,
    HEAD,
    PATIENCE_S,
    Running,
    body_of,
    message,
    running,
)
from tests.waiting import until

LAST = f"{HEAD}Connection: close\r\n"
"""Of a request behind which the server waits for no other."""


def test_a_request_of_two_lengths_ends_its_connection(server: Running) -> None:
    """What a proxy takes for the rest of its body isn't answered as a request of its own."""
    smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for path, kind in ((CHAT, "application/json"), ("/health", "text/plain")):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        lengths = f"Content-Length: {5 + len(smuggled)}\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = raw(server, f"{head}{lengths}".encode() + b"0\r\n\r\n" + smuggled)
        assert reply.split()[1] == b"400"
        assert reply.count(b"HTTP/1.1") == 1
        assert b"connection: close" in reply.lower()


def test_bodies_that_are_too_large(server: Running) -> None:
    status, _, body = server.request("POST", CHAT, b"x" * (BODY_LIMIT + 1))
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
    for length in ("9" * 30, str(10**15)):
        reply = raw(server, f"{LAST}Content-Length: {length}\r\n\r\n".encode())
        assert reply.split()[1] in (b"400", b"413")
    # Without a length, it is counted as it comes.
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = f"{LAST}Transfer-Encoding: chunked\r\n\r\n".encode()
    assert b" 413 " in raw(server, head + chunk * 20)
    assert server.metric("requests_active") == 0


@pytest.mark.parametrize(
    ("kind", "status"), [("text/plain", 415), ("", 415), ("application/json; charset=utf-8", 200)]
)
def test_what_a_page_in_a_browser_may_send_is_not_taken(
    server: Running, kind: str, status: int
) -> None:
    headers = {"Content-Type": kind}
    assert server.request("POST", CHAT, body_of("What?"), **headers)[0] == status


def test_what_nobody_waits_for_is_removed_beside_the_others(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20,000 pictures that took 5 s, in which nobody else was answered."""
    began, go_on, remove = threading.Event(), threading.Event(), shutil.rmtree

    def slowly(*args: Any, **options: Any) -> None:
        began.set()
        go_on.wait(PATIENCE_S)
        remove(*args, **options)

    monkeypatch.setattr(shutil, "rmtree", slowly)
    server.pretended.shutter.clear()
    with ThreadPoolExecutor(1) as client:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
            connection.sendall(message(body_of("What?")))
            assert server.pretended.began.wait(PATIENCE_S)
        assert began.wait(PATIENCE_S)
        healthy = client.submit(server.request, "GET", "/health")
        try:
            assert healthy.result(PATIENCE_S / 4)[0] == 200
        finally:
            go_on.set()
            server.pretended.shutter.set()


def test_headers_without_end(server: Running) -> None:
    reply = raw(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000)
    assert b" 400 " in reply.splitlines()[0]


def test_no_traceback_for_what_is_no_http(server: Running) -> None:
    for sent in (
        b"\0\1\2\r\n\r\n",
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
    ):
        assert b"Traceback" not in raw(server, sent)
    assert server.request("GET", "/health")[0] == 200


def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch, bodies=BodyLimits(BODY_LIMIT, timeout_s=0.3)) as server:
        assert b" 408 " in raw(server, f"{LAST}Content-Length: 100\r\n\r\n{{".encode())
        assert server.metric("requests_active") == 0


def test_a_client_that_leaves_during_its_body(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        connection.sendall(f"{HEAD}Content-Length: 100\r\n\r\n{{".encode())
        server.request("GET", "/health")  # by now, the header has been read
    left = 'requests_total{status="499"} 1'
    until(lambda: left in server.request("GET", "/metrics")[2].decode(), what=left)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_answer(server: Running, stream: bool) -> None:
    server.pretended.pause_s = 0.1
    body = body_of(" ".join(["word"] * 600), stream=stream)
    connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
    connection.sendall(message(body))
    server.wait_for("requests_active", 1)
    if stream:
        assert b"word" in connection.recv(4096) + connection.recv(4096) + connection.recv(4096)
    connection.close()
    server.wait_for("cancelled_total", 1)
    server.wait_for("requests_active", 0)
    began = time.monotonic()
    assert server.ask("What?")[0] == 200
    assert time.monotonic() - began < 10  # the other would have taken a minute


def test_a_reader_that_does_not_read_holds_nobody_up(server: Running) -> None:
    body = body_of(" ".join(["word" * 50] * 400), stream=True)
    server.pretended.gate.clear()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(message(body))
        server.wait_for("requests_active", 1)
        server.pretended.gate.set()
        for _ in range(3):
            assert server.ask("What?")[0] == 200
    server.wait_for("requests_active", 0)


def test_streams_that_are_cut_at_any_point_leave_nothing(server: Running) -> None:
    server.pretended.pause_s = 0.005
    body = body_of("one two three four five six", stream=True)
    whole = message(body)

    def cut(number: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
            connection.sendall(whole[: len(whole) if number % 3 else 50 * number])
            time.sleep(0.004 * number)

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(cut, range(24))]
    server.wait_for("requests_active", 0)
    assert server.ask("What?")[0] == 200


def test_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch, key="secret") as server:
        for path in ("/v1/models", "/metrics", "/nothing"):
            assert server.request("GET", path)[0] == 401
        assert server.request("POST", CHAT, b"x" * (BODY_LIMIT + 1))[0] == 401
        assert server.request("GET", "/health", Host="any.example")[0] == 200
        assert server.request("GET", "/v1/models", Authorization="Bearer secret")[0] == 200


def test_dns_rebinding(server: Running) -> None:
    assert server.request("POST", CHAT, body_of("What?"), Host="evil.example")[0] == 403


def raw(server: Running, sent: bytes) -> bytes:
    """What comes back for bytes that no client would send."""
    got = b""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        try:
            connection.sendall(sent)
            while piece := connection.recv(65536):
                got += piece
        except OSError:
            pass
    return got

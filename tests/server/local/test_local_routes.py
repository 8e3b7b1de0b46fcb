"""The local API as HTTP: where it is served, what it refuses, and clients that leave."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from itertools import islice
from typing import Any

import pytest

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.ask import Ask, Footage
from dycoke_cli.server.local.client import events, post
from dycoke_cli.server.local.unix_socket import connect
from dycoke_cli.server.local.wire import (
    ASK_PATH,
    MOST_BYTES,
    STOP_PATH,
    ask_to_json,
    line_of,
    setup_of,
)
from tests.cli.harness import CLIP
from tests.loop.pretended import PATIENCE_S
from tests.server.local.conftest import Served

PATHS = (ASK_PATH, STOP_PATH)


def connected() -> socket.socket:
    connection = connect()
    assert connection is not None
    connection.settimeout(PATIENCE_S)
    return connection


def replied(request: bytes) -> tuple[int, Any]:
    """The status, and the object, for a request at the socket."""
    with connected() as connection:
        connection.sendall(request)
        with closing(HTTPResponse(connection, method="POST")) as response:
            response.begin()
            return response.status, json.loads(response.read())


def setup(local: Served) -> dict[str, Any]:
    found: dict[str, Any] = to_dict(setup_of(local.service.defaults))
    return found


def question(local: Served, text: str = "What?", **more: Any) -> dict[str, Any]:
    request = replace(local.service.defaults, **more)
    ask = Ask(text, request, (Footage(str(CLIP), "move.mp4"),))
    return {"ask": 1, "streams": True, **ask_to_json(ask, lambda: "")}


def chunk(document: dict[str, Any]) -> bytes:
    line = line_of(document)
    return b"%x\r\n%s\r\n" % (len(line), line)


def begun(connection: socket.socket, local: Served, *lines: dict[str, Any]) -> Any:
    """The events of a command that sends these lines behind its setup, from the second on."""
    head = post(ASK_PATH, None) + chunk(setup(local))
    received = events(connection, head + b"".join(map(chunk, lines)))
    assert next(received) == {"event": "ready"}
    return received


@pytest.mark.parametrize("path", [*PATHS, "/local%2fask", "/local/", "/local/other"])
def test_it_is_not_on_tcp(local: Served, path: str) -> None:
    body = line_of(setup(local))
    for method in ("POST", "GET"):
        with closing(HTTPConnection("127.0.0.1", local.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            assert (reply.status, json.loads(reply.read())["error"]["code"]) == (404, "not_found")


def test_nothing_else_is_at_the_socket(local: Served) -> None:
    for path in ("/", "/health", "/v1/models", "/v1/chat/completions", "/metrics", "/local/other"):
        assert replied(post(path, b"{}"))[0] == 404
    assert replied(post(ASK_PATH, b"{}").replace(b"POST", b"GET", 1))[0] == 405


@pytest.mark.parametrize("path", PATHS)
def test_no_web_page_reaches_it(local: Served, path: str) -> None:
    for origin in (b"https://evil.example", b"http://localhost:3000", b"null"):
        request = post(path, b"{}").replace(b"\r\n", b"\r\nOrigin: %s\r\n" % origin, 1)
        assert replied(request)[0] == 403


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"nonsense", 400, "the body isn't JSON: Expecting value at line 1, column 1"),
        (b"[" * 99999, 400, "the body can't be read: it is nested more than 80 deep"),
        (b"[]", 409, "it runs another version of dycoke, or other plug-ins"),
        (b'{"code": 7}', 409, "it runs another version of dycoke, or other plug-ins"),
    ],
)
def test_bodies_that_are_none(local: Served, body: bytes, status: int, sentence: str) -> None:
    got, document = replied(post(ASK_PATH, body + b"\n"))
    assert (got, document["error"]["message"]) == (status, sentence)
    assert isinstance(document["error"]["code"], str)


def test_a_setup_of_the_same_code_that_is_not_understood(local: Served) -> None:
    for changed in ({"more": 1}, {"request": 7}):
        got, document = replied(post(ASK_PATH, line_of({**setup(local), **changed})))
        assert (got, document["error"]["message"]) == (409, "it doesn't understand the request")
        assert document["error"]["code"] == "in_process"


def test_a_line_that_is_none_ends_the_command(local: Served) -> None:
    for line in (b"nonsense\n", b"7\n", b'{"ask": "x"}\n'):
        with connected() as connection:
            received = begun(connection, local)
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            event = next(received)
            assert (event["event"], "ask" in event) == ("failed", False)
            received.close()
    local.wait_until_idle()


def test_a_question_that_is_not_understood_fails_alone(local: Served) -> None:
    wrong, right = {**question(local), "more": 1}, {**question(local), "ask": 2}
    with connected() as connection:
        received = begun(connection, local, wrong, right)
        ends = (event for event in received if event["event"] in ("failed", "answered"))
        ended = [(event["ask"], event["event"]) for event in islice(ends, 2)]
        assert ended == [(1, "failed"), (2, "answered")]
        received.close()


def test_bodies_that_are_too_large(local: Served) -> None:
    head = post(ASK_PATH, None)
    with connected() as connection:
        connection.sendall(head)
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(MOST_BYTES // 0x10000 + 1):
            connection.sendall(chunk)
        with closing(HTTPResponse(connection, method="POST")) as response:
            response.begin()
            assert response.status == 413


def test_a_command_that_ends_ends_its_question(local: Served) -> None:
    local.pretended.pause_s = 0.06
    with connected() as connection:
        received = begun(connection, local, question(local, " ".join(["word"] * 1000)))
        assert any(event["event"] == "text" for event in received)
        received.close()
    local.wait_until_idle()  # the answer would have taken a minute


def test_a_question_that_is_cancelled_ends(local: Served) -> None:
    local.pretended.pause_s = 0.06
    with connected() as connection:
        received = begun(connection, local, question(local, " ".join(["word"] * 1000)))
        assert any(event["event"] == "text" for event in received)
        connection.sendall(chunk({"cancel": 1}) + chunk({**question(local), "ask": 2}))
        assert any((event["ask"], event["event"]) == (2, "answered") for event in received)
        received.close()


def test_a_model_that_cannot_be_loaded_again(local: Served) -> None:
    """After it was unloaded, for nobody had asked for long."""

    def fail(_: Any) -> Any:
        raise MemoryError

    local.service.engine._load, local.service.engine.loaded = fail, None
    with connected() as connection:
        received = begun(connection, local, question(local))
        event = next(event for event in received if event["event"] == "failed")
        assert (event["ask"], event["code"]) == (1, "out_of_memory")
        received.close()

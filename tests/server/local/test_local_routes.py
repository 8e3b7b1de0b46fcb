"""The local API as HTTP: where it is served, what it refuses, and clients that leave."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
from dycoke_cli.runs.conversation import Conversation

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.server.local.client import events, post
from dycoke_cli.server.local.unix_socket import connect
from dycoke_cli.server.local.wire import (
    ASK_PATH,
    BATCH_PATH,
    MOST_BYTES,
    STOP_PATH,
    ask_of,
    line_of,
)
from tests.cli.harness import CLIP
from tests.server.local.conftest import Served
from tests.server.pretended import PATIENCE_S

PATHS = (ASK_PATH, BATCH_PATH, STOP_PATH)


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


def conversation(local: Served, **more: Any) -> Conversation:
    request = replace(local.service.defaults, **more)
    return Conversation((str(CLIP),), ["What?"], request)


@pytest.mark.parametrize("path", [*PATHS, "/local%2fask", "/local/", "/local/other"])
def test_it_is_not_on_tcp(local: Served, path: str) -> None:
    body = line_of(to_dict(ask_of(conversation(local))))
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
        (b"", 400, "the body isn't JSON"),
        (b"nonsense", 400, "the body isn't JSON"),
        (b"[" * 99999, 400, "the body isn't JSON"),
        (b"[]", 409, "it runs another version of dycoke, or other plug-ins"),
        (b'{"setup": {"code": 7}}', 409, "it runs another version of dycoke, or other plug-ins"),
    ],
)
def test_bodies_that_are_none(local: Served, body: bytes, status: int, sentence: str) -> None:
    for path, sent in ((ASK_PATH, body), (BATCH_PATH, body + b"\n")):
        got, document = replied(post(path, sent))
        assert (got, document["error"]["message"]) == (status, sentence)
    assert isinstance(document["error"]["code"], str)


def test_a_request_of_the_same_code_that_is_not_understood(local: Served) -> None:
    sent = to_dict(ask_of(conversation(local)))
    for changed in ({**sent, "more": 1}, {**sent, "videos": 7}):
        got, document = replied(post(ASK_PATH, line_of(changed)))
        assert (got, document["error"]["message"]) == (409, "it doesn't understand the request")
        assert document["error"]["code"] == "in_process"


def test_bodies_that_are_too_large(local: Served) -> None:
    head = post(ASK_PATH, None)
    length = f"Content-Length: {MOST_BYTES + 1}".encode()
    assert replied(head.replace(b"Transfer-Encoding: chunked", length))[0] == 413
    with connected() as connection:
        connection.sendall(post(BATCH_PATH, None))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(MOST_BYTES // 0x10000 + 1):
            connection.sendall(chunk)
        with closing(HTTPResponse(connection, method="POST")) as response:
            response.begin()
            assert response.status == 413
    kind = post(ASK_PATH, b"{}").replace(b"application/json", b"text/plain")
    assert replied(kind)[0] == 415


@pytest.mark.usefixtures("fake_model")
def test_a_command_that_ends_ends_its_conversation(
    local: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PAUSE_S", "0.06")
    monkeypatch.setenv("FAKE_ANSWER", " ".join(["word"] * 1000))
    asked = conversation(local, generation=GenerationOptions(max_new_tokens=1000))
    with connected() as connection:
        received = events(connection, post(ASK_PATH, line_of(to_dict(ask_of(asked)))))
        assert any(event["event"] == "text" for event in received)
        received.close()
    began = time.monotonic()
    while local.service.engine.idle_s == 0.0:
        assert time.monotonic() - began < 15  # the answer would have taken a minute
        time.sleep(0.02)


@pytest.mark.usefixtures("fake_model")
def test_a_model_that_cannot_be_loaded_again(local: Served) -> None:
    """After it was unloaded, for nobody had asked for long."""

    def fail() -> Any:
        raise MemoryError

    local.service.engine._load, local.service.engine._loaded = fail, None  # type: ignore[assignment]
    with connected() as connection:
        received = events(connection, post(ASK_PATH, line_of(to_dict(ask_of(conversation(local))))))
        event = next(received)
        assert (event["event"], event["code"]) == ("error", "out_of_memory")
        received.close()

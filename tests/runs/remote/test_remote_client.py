"""What is made of a server's errors and streams, without a connection."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.errors import DycokeError, ModelError, UsageError
from dycoke_cli.runs.remote import remote_client
from dycoke_cli.runs.remote.remote_client import RemoteClient, ServerGoneError, ServerResponse
from dycoke_cli.storage.limited_http import LimitError

URL = "http://localhost:9/v1"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> RemoteClient:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    return RemoteClient(URL, "MY_KEY")


def error(status: int | None, body: Any, text: str = "whole text") -> openai.APIError:
    request = httpx2.Request("POST", URL)
    if status is None:
        return openai.APIError(text, request, body=body)
    response = httpx2.Response(status, request=request)
    return openai.APIStatusError(text, response=response, body=body)


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (401, None, ModelError, "refuses the key (401): set MY_KEY"),
        (403, None, ModelError, "refuses the key (403)"),
        (404, {"message": "no seen"}, ModelError, "no such model or path: no seen"),
        (400, {"message": "a  b\nc"}, UsageError, "refuses the request: a b c"),
        (422, {"message": ""}, UsageError, "refuses the request: whole text"),
        (429, {"message": "busy"}, DycokeError, "gave no answer: busy"),
        (500, {"message": 7}, DycokeError, "gave no answer: whole text"),
        (None, {"message": "x", "type": "invalid_request_error"}, UsageError, "the request: x"),
        (None, {"message": "x", "type": "server_error"}, DycokeError, "gave no answer: x"),
        (400, {"message": "bad sk-secret here"}, UsageError, "bad … here"),
    ],
)
def test_an_error_is_a_sentence(
    client: RemoteClient, status: int | None, body: Any, kind: type, sentence: str
) -> None:
    explained = client._explained(error(status, body))
    assert type(explained) is kind
    assert sentence in str(explained)
    assert "sk-secret" not in str(explained)


def test_a_long_error_is_cut_and_models_are_listed(client: RemoteClient) -> None:
    long = str(client._explained(error(400, {"message": "x" * 5000})))
    assert long.count("x") == 500
    client._models = ["one", "two"]
    assert "(it has one, two)" in str(client._explained(error(404, None)))
    gone = client._explained(openai.APIConnectionError(request=httpx2.Request("POST", URL)))
    assert type(gone) is ServerGoneError
    wrapped = openai.APIConnectionError(request=httpx2.Request("POST", URL))
    wrapped.__cause__ = LimitError("it is too large")
    for limit in (wrapped, wrapped.__cause__):
        explained = client._explained(limit)
        assert type(explained) is DycokeError
        assert "response isn't read, because it is too large" in str(explained)


def chunk(text: str | None = None, reason: str | None = None, **more: Any) -> Any:
    choice = SimpleNamespace(finish_reason=reason, delta=SimpleNamespace(content=text))
    fields: dict[str, Any] = {"model": None, "usage": None, "choices": [choice]}
    return SimpleNamespace(**fields | more)


def test_a_stream_is_followed_to_its_end(client: RemoteClient) -> None:
    usage = SimpleNamespace(model_dump=lambda: {"prompt_tokens": 3})
    # An empty piece isn't the first one, and the reason comes before the figures.
    pieces = ["", "one ", "two\ud800"]
    chunks = [
        *(chunk(piece, model="served") for piece in pieces),
        chunk(reason="length"),
        chunk(choices=[], usage=usage),
        chunk(),
    ]
    reply, texts = ServerResponse(), list[str]()
    client._follow(chunks, reply, 0.0, texts.append)
    assert texts == ["one ", "two\\ud800"]
    assert reply.text == "one two\\ud800"
    assert (reply.reason, reply.model, reply.usage) == ("length", "served", {"prompt_tokens": 3})
    assert reply.first_s is not None


def test_the_first_text_alone_is_timed(
    client: RemoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([5.0, 6.0, 7.0])
    monkeypatch.setattr(remote_client.time, "perf_counter", lambda: next(now))
    reply = ServerResponse()
    client._follow([chunk(""), chunk("a"), chunk("b", "stop")], reply, 3.0, lambda text: None)
    assert reply.first_s == 2.0


def test_a_stream_without_an_end_is_a_server_that_is_gone(client: RemoteClient) -> None:
    with pytest.raises(ServerGoneError):
        client._follow([chunk("one ")], ServerResponse(), 0.0, lambda text: None)


@pytest.mark.parametrize(
    ("status", "kind", "body", "says"),
    [
        (200, "application/json", b" " * 3000, "larger than 2,000 bytes"),
        (200, "application/json", b"[" * 70, "nested more than 64 deep"),
        (200, "text/event-stream", b"data: [" + b"[]," * 60, "more than 100 values"),
        (500, "text/event-stream", b"\n\n[" * 110, "more than 100 values"),
        (404, "application/json", b" " * 3000, "larger than 2,000 bytes"),
    ],
)
def test_each_kind_of_response_is_limited(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: str, body: bytes, says: str
) -> None:
    """With gzip it was read whole: a limit held for what was received, none for what it became."""
    headers = {"content-type": kind}

    class Body(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield body

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers=headers, stream=Body())

    monkeypatch.setattr(remote_client, "BOUNDS", Bounds(nbytes=2000, values=100))
    client = RemoteClient(URL, "MY_KEY")
    client._client._client._transport = httpx2.MockTransport(answer)
    request = {"model": "m", "messages": []}
    for failing in (lambda: client.ask(request), lambda: client.refuses(request, "x")):
        with pytest.raises(DycokeError, match=f"isn't read, because it .*{says}"):
            failing()
    if kind != "text/event-stream":
        with pytest.raises(DycokeError, match=f"isn't read, because it .*{says}"):
            client.models(required=False)
    headers["content-encoding"] = "gzip"
    body = gzip.compress(b"{}")
    with pytest.raises(DycokeError, match="isn't read, because it has the encoding 'gzip'"):
        client.ask(request, print)


def test_a_path_without_models_is_told_from_a_server_without_a_list() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, json={"error": {"message": "the base URL is http://here/v1"}})

    client = RemoteClient(URL, "MY_KEY")
    client._client._client._transport = httpx2.MockTransport(answer)
    assert client.models(required=False) == []
    with pytest.raises(ModelError, match=r"path: the base URL is http://here/v1; check --server"):
        client.models(required=True)

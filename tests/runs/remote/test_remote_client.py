"""What is made of a server's errors and streams, without a connection."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from dycoke_cli.errors import DycokeError, ModelError, UsageError
from dycoke_cli.runs.remote import remote_client
from dycoke_cli.runs.remote.remote_client import RemoteClient, Reply, ServerGoneError

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
    wrapped = error(500, None)
    wrapped.__cause__ = DycokeError("ours")
    assert client._explained(wrapped) is wrapped.__cause__


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
    reply, texts = Reply(), list[str]()
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
    reply = Reply()
    client._follow([chunk(""), chunk("a"), chunk("b", "stop")], reply, 3.0, lambda text: None)
    assert reply.first_s == 2.0


def test_a_stream_without_an_end_is_a_server_that_is_gone(client: RemoteClient) -> None:
    with pytest.raises(ServerGoneError):
        client._follow([chunk("one ")], Reply(), 0.0, lambda text: None)


def test_a_body_is_limited_in_size_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Body(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from [b"1234", b"56789", b"0"]

    monkeypatch.setattr(remote_client, "MOST_BYTES", 10)
    limited = remote_client._Limited(Body())
    assert b"".join(limited) == b"1234567890"
    monkeypatch.setattr(remote_client, "MOST_BYTES", 9)
    read = []
    with pytest.raises(DycokeError, match="doesn't end"):
        read += [*remote_client._Limited(Body())]
    monkeypatch.setattr(remote_client, "MOST_BYTES", 10)
    times = iter([0.0, 1.0, 700.0])
    monkeypatch.setattr(remote_client.time, "monotonic", lambda: next(times))
    with pytest.raises(DycokeError, match="doesn't end"):
        list(remote_client._Limited(Body()))

"""An OpenAI-compatible server in this process: it notes what it is sent, and does as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from dycoke_cli.runs.remote import served_model
from tests.http_servers import Handler, listening

Reply = tuple[int, dict[str, Any]]
"""A status and an answer."""


@dataclass
class Endpoint:
    """A server that notes what it is sent."""

    reply: Callable[[dict[str, Any]], Reply]  # from a body to a status and an answer
    knows: bool = True  # whether it knows our methods: it refuses one that there isn't
    streams: bool = True  # whether it streams where it is asked to
    # of all replies
    headers: dict[str, str] = field(default_factory=lambda: {"retry-after-ms": "1"})
    # what it answers to a chat completion in place of `reply`, piece by piece
    raw: Callable[[], Iterator[bytes]] | None = None
    models: tuple[str, ...] = ("seen",)
    url: str = ""
    # of the chat completions, but for those that find out whether it knows our methods
    bodies: list[dict[str, Any]] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)  # these
    keys: set[str | None] = field(default_factory=set)  # their Authorization headers
    most: int = 0  # requests that were there at once
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any], key: str | None) -> Reply:
        spec = body.get("dycoke", {}).get("method")
        if spec == served_model._PROBE:
            self.probes.append(body)
            if self.knows:
                return 400, {"error": {"message": f"there is no method {spec!r}"}}
            return said(body)
        if body["max_tokens"] == 1:  # which finds out whether a method is served
            self.probes.append(body)
            return self.reply(body)
        with self.lock:
            self.bodies.append(body)
            self.keys.add(key)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.reply(body)
        finally:
            with self.lock:
                self.now -= 1


def asked(body: dict[str, Any]) -> str:
    """The question."""
    return str(body["messages"][-1]["content"][-1]["text"])


def said(body: dict[str, Any], text: str | None = None) -> Reply:
    """A usual answer."""
    message = {"role": "assistant", "content": text or f" Of {asked(body)}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 140, "completion_tokens": 7, "total_tokens": 147}
    kind = {"object": "chat.completion", "id": "1", "created": 0, "model": body["model"]}
    return 200, {**kind, "choices": [choice], "usage": usage}


def streamed(answer: dict[str, Any]) -> Iterator[bytes]:
    """An answer as events, a word each."""
    [choice] = answer["choices"]
    head = {key: answer[key] for key in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"

    def event(document: dict[str, Any]) -> bytes:
        return f"data: {json.dumps({**head, **document})}\n\n".encode()

    yield event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}]})
    for word in choice["message"]["content"].split(" "):
        delta = {"content": f" {word}"}
        yield event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    yield event({"choices": [], "usage": answer["usage"]})
    yield b"data: [DONE]\n\n"


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Reply] = said, **options: Any) -> Iterator[Endpoint]:
    """A server, for the length of a block."""
    endpoint = Endpoint(reply, **options)

    class Answering(Handler):
        def do_GET(self) -> None:
            models = [{"id": name, "object": "model"} for name in endpoint.models]
            self.send(200, {"object": "list", "data": models}, endpoint.headers)

        def do_POST(self) -> None:
            body = self.body()
            status, answer = endpoint.answer(body, self.headers["Authorization"])
            if status == 200 and endpoint.raw is not None:
                self.pieces("application/json", endpoint.raw())
            elif status == 200 and endpoint.streams and body.get("stream") and "choices" in answer:
                self.pieces("text/event-stream", streamed(answer))
            else:
                self.send(status, answer, endpoint.headers)

        def pieces(self, kind: str, pieces: Iterator[bytes]) -> None:
            self.head(200, {"Content-Type": kind})
            with suppress(ConnectionError):  # who asks has heard enough
                for piece in pieces:
                    self.wfile.write(piece)

    with listening(Answering) as port:
        endpoint.url = f"http://127.0.0.1:{port}/v1"
        yield endpoint

"""An endpoint of a judge that misbehaves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from dycoke_cli.evaluation.scoring.judge import KEY
from tests.http_servers import Handler, listening

YES = '{"pred": "yes", "score": 4}'


class Endpoint:
    """A server that speaks the protocol, or what it is told instead.

    Attributes:
        plan: what becomes of each request: "ok", a status, "stall", "nonsense", "html", "cut",
            or "drip" (a byte of the body now and then, without end).
        seen: headers and bodies of requests.
    """

    def __init__(self) -> None:
        self.plan: list[Any] = []
        self.seen: list[tuple[dict[str, str], dict[str, Any], float]] = []
        self.released = threading.Event()
        self.url = ""

    def reply(self, handler: Handler, what: Any) -> None:
        if what == "stall":
            self.released.wait(20)
            return
        if what == "drip":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            with suppress(OSError):
                while not self.released.wait(0.05):
                    handler.wfile.write(b"{")
            return
        status = what if isinstance(what, int) else 200
        text = "I can't say" if what == "nonsense" else YES
        message = {"role": "assistant", "content": None if what == "empty" else text}
        document: Any = {
            "id": "1", "object": "chat.completion", "created": 1, "model": "judge-1-served",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }  # fmt: skip
        if status != 200:
            document = {
                "error": {"message": "wrong key sk-sec…cret, sk-secret, ab****yz", "code": status}
            }
        content, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
        if what == "html":
            content, headers = b"<html>\x1b[2J</html>", {"Content-Type": "text/html"}
        if what == "choiceless":
            content = b'{"choices": []}'
        handler.head(status, headers | {"Content-Length": str(len(content))})
        handler.wfile.write(content[:-5] if what == "cut" else content)


@contextmanager
def judging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """One that listens, and `sk-secret` as the key."""
    pytest.importorskip("openai", reason="the package openai (extra judge) isn't installed")
    monkeypatch.setenv(KEY, "sk-secret")
    made = Endpoint()

    class Judging(Handler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.seen.append((headers, self.body(), time.monotonic()))
            made.reply(self, made.plan.pop(0) if made.plan else "ok")

    with listening(Judging) as port:
        made.url = f"http://127.0.0.1:{port}/v1"
        yield made
        made.released.set()

"""A receiver of webhooks at test time, of the standard library alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from tests.http_servers import Handler, listening


class Receiver:
    """An HTTP server that keeps what it takes. A context manager.

    Attributes:
        status: of each answer; a function may return one, and takes the headers.
        taken: id and JSON of each request that got a status of 200, in order.
        headers: of each request, in order.
    """

    def __init__(self, status: int | Callable[[Any], int] = 200, path: str = "/hook") -> None:
        self.status = status
        self.taken: list[tuple[str, Any]] = []
        self.headers: list[Any] = []
        self._path, self._port, self._listening = path, 0, ExitStack()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._path}"

    def start(self) -> None:
        receiver = self

        class Taking(Handler):
            def do_POST(self) -> None:
                body = self.body()
                receiver.headers.append(self.headers)
                status = receiver.status
                status = status if isinstance(status, int) else status(self.headers)
                if status == 200:
                    receiver.taken.append((self.headers["Webhook-Id"], body))
                with suppress(OSError):  # nobody waits any more
                    self.send(status, headers={"Location": "/elsewhere"} if status == 302 else {})

        self._port = self._listening.enter_context(listening(Taking, self._port))

    def stop(self) -> None:
        self._listening.close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

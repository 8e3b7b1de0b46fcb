"""A receiver of webhooks at test time, of the standard library alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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
        self._server: ThreadingHTTPServer | None = None
        self._path, self._port = path, 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._path}"

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.headers.append(self.headers)
                status = receiver.status
                status = status if isinstance(status, int) else status(self.headers)
                if status == 200:
                    receiver.taken.append((self.headers["Webhook-Id"], body))
                with suppress(OSError):  # nobody waits any more
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    if status == 302:
                        self.send_header("Location", "/elsewhere")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

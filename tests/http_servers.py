"""An HTTP server in this process, for tests of what speaks to one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Logs nothing; a test says what it replies, by `do_GET` and so on."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def body(self) -> Any:
        """The document that was sent."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a reply."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status: int, content: Any = b"", headers: Mapping[str, str] = {}) -> None:
        """Reply with bytes, or with a document."""
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers = {"Content-Type": "application/json", **headers}
        self.head(status, {"Content-Length": str(len(content)), **headers})
        self.wfile.write(content)


@contextmanager
def listening(handler: type[Handler], port: int = 0) -> Iterator[int]:
    """A server, for the length of a block: its port, which is a free one by default."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()

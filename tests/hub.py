"""A model hub on this machine: enough of one for the hub client, and it can misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository.

    Attributes:
        files: content by name.
        gated: its files ask for a login.
        cut: names whose connection breaks once, half way.
        slow: names that come to a halt half way, until the hub closes.
        status: of every answer about it, in place of what was asked.
        headers: of every file, in place of its own.
        commit: that the hub names in documents.
        names: of files in documents, in place of their own.
    """

    files: dict[str, bytes]
    gated: bool = False
    cut: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    commit: str = COMMIT
    names: dict[str, str] = field(default_factory=dict)


class Hub:
    """The server; `with Hub({"me/mine": Repo({...})}) as hub:`.

    Attributes:
        fetched: what was downloaded: repository, file name, and the first byte that was asked for.
        halted: set when a slow file has come half way.
    """

    def __init__(self, repos: dict[str, Repo]) -> None:
        self.repos = repos
        self.fetched: list[tuple[str, str, int]] = []
        self.halted = threading.Event()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: object) -> dict[str, str]:
        """What a process needs to take this for the hub, and `home` for its cache."""
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self._server.server_address[1]}",
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            api = parts[:2] == ["api", "models"]
            name, rest = "/".join(parts[2:4] if api else parts[:2]), parts[4 if api else 2 :]
            repo = hub.repos.get(name)
            if repo is None:
                self._error(401, "RepoNotFound")
            elif repo.status:
                self._error(repo.status, "")
            elif len(rest) > 1 and rest[1] not in ("main", COMMIT):
                self._error(404, "RevisionNotFound")
            elif api:
                self._document(_tree(repo) if rest[:1] == ["tree"] else _info(name, repo))
            elif repo.gated:
                self._error(403, "GatedRepo")
            elif rest[2] not in repo.files:
                self._error(404, "EntryNotFound")
            else:
                self._file(name, repo, rest[2], body)

        def _error(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _document(self, document: Any) -> None:
            content = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _file(self, name: str, repo: Repo, file: str, body: bool) -> None:
            content = repo.files[file]
            start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            own = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            for header, value in (own | repo.headers).items():
                self.send_header(header, value)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if not body:
                return
            hub.fetched.append((name, file, start))
            half = len(content) // 2
            if file in repo.cut | repo.slow and start < half:
                self.wfile.write(content[start:half])
                self.wfile.flush()
                if file in repo.slow:
                    hub.halted.set()
                    hub.closing.wait(60)
                repo.cut.discard(file)
                self.close_connection = True
                return
            self.wfile.write(content[start:])

    return Handler


def _info(name: str, repo: Repo) -> dict[str, Any]:
    return {
        "id": name,
        "modelId": name,
        "sha": repo.commit,
        "gated": "manual" if repo.gated else False,
        "private": False,
        "tags": [],
        "siblings": [
            {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
            for entry in _tree(repo)
        ],
    }


def _tree(repo: Repo) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": repo.names.get(file, file),
            "size": len(content),
            "oid": hashlib.sha1(content).hexdigest(),
        }
        for file, content in repo.files.items()
    ]

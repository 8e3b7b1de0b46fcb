"""A model hub on this machine: the protocol as the hub client speaks it, and it can misbehave.

Documents of a repository and its files, small ones from the hub itself, large ones by a redirect to
another host, as the hub has its storage; ranges, logins, and what goes wrong in between.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests import http_servers, xet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# To the storage of Xet, until 2286.
_CONNECTION = {"X-Xet-Access-Token": "read", "X-Xet-Token-Expiration": "9999999999"}


@dataclass
class Repo:
    """A repository."""

    files: dict[str, bytes]  # content by name
    # how the names of files end that lie in the storage, behind a redirect
    stored: tuple[str, ...] = ()
    gated: bool = False  # its files ask for a login, with one of the hub's tokens
    cut: set[str] = field(default_factory=set)  # names whose connection breaks once, half way
    # names that come to a halt half way, until the hub closes
    slow: set[str] = field(default_factory=set)
    status: int = 0  # of every answer about it, in place of what was asked
    # statuses of the next answers with a file's bytes (with `xet`, of Xet), one each
    passing: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)  # of every file, in place of its own
    commit: str = COMMIT  # that is its newest; the first one stays
    # of files in documents, in place of their own
    names: dict[str, str] = field(default_factory=dict)
    xet: bool = False  # what lies in the storage is offered by Xet, too


class Hub:
    """The server; `with Hub({"me/mine": Repo({...})}) as hub:`.

    Attributes:
        fetched: what was downloaded: repository, file name, and the first byte that was asked for.
        asked: paths of all requests.
        halted: set when a slow file has come half way.
        tokens: that open gated repositories.
        leaked: whether a login came to the storage.
        port: where it listens.
    """

    def __init__(self, repos: dict[str, Repo]) -> None:
        self.repos = repos
        self.fetched: list[tuple[str, str, int]] = []
        self.asked: list[str] = []
        self.halted = threading.Event()
        self.closing = threading.Event()
        self.tokens: set[str] = set()
        self.leaked = False
        self.port = 0
        self._listening = ExitStack()

    def __enter__(self) -> Hub:
        self.port = self._listening.enter_context(http_servers.listening(_handler(self)))
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._listening.close()

    def environment(self, home: object) -> dict[str, str]:
        """What a process needs to take this for the hub, and `home` for its cache."""
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "0" if any(repo.xet for repo in self.repos.values()) else "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


def _handler(hub: Hub) -> type[http_servers.Handler]:
    class Handler(http_servers.Handler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            with suppress(ConnectionError):  # the client is gone
                self._answer(body=True)

        def _answer(self, body: bool) -> None:
            hub.asked.append(self.path)
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if storage := parts[0] == "storage":
                parts = parts[1:]
                hub.leaked |= "Authorization" in self.headers
            api = parts[:2] == ["api", "models"]
            name, rest = "/".join(parts[2:4] if api else parts[:2]), parts[4 if api else 2 :]
            repo = hub.repos.get(name)
            file = "/".join(rest[2:])
            if parts[0] == "xet":
                self._from_xet(parts[1:])
            elif repo is None:
                self._error(401, "RepoNotFound")
            elif repo.status:
                self._error(repo.status, "")
            elif len(rest) > 1 and rest[1] not in ("main", COMMIT, repo.commit):
                self._error(404, "RevisionNotFound")
            elif api and rest[:1] == ["xet-read-token"]:
                self.send(200, {}, _CONNECTION | {"X-Xet-Cas-Url": f"{self._place}/xet"})
            elif api:
                self.send(200, _tree(repo) if rest[:1] == ["tree"] else _info(name, repo))
            elif repo.gated and not storage and not self._logged_in():
                self._error(403 if "Authorization" in self.headers else 401, "GatedRepo")
            elif file not in repo.files:
                self._error(404, "EntryNotFound", repo.commit if rest[1] == "main" else rest[1])
            elif body and repo.passing and not repo.xet:
                self._error(repo.passing.pop(0), "")
            elif file.endswith(repo.stored or "/") and not storage:
                self._redirect(repo, name, file)
            else:
                self._file(name, repo, file, body)

        @property
        def _place(self) -> str:
            return f"http://127.0.0.1:{hub.port}"

        def _logged_in(self) -> bool:
            return self.headers.get("Authorization", "").removeprefix("Bearer ") in hub.tokens

        def _error(self, status: int, code: str, commit: str = "") -> None:
            # By the commit, a client knows that the file isn't in it, and asks no more.
            known = {"X-Repo-Commit": commit} if commit else {}
            self.send(status, headers={"X-Error-Code": code, "Retry-After": "0", **known})

        def _redirect(self, repo: Repo, name: str, file: str) -> None:
            content = repo.files[file]
            # Another host, to which a login isn't sent on.
            place = (
                f"http://localhost:{hub.port}/storage/{name}/resolve/{repo.commit}/{quote(file)}"
            )
            linked = {
                "Location": f"{place}?X-Amz-Signature=0",
                "X-Linked-Size": str(len(content)),
                "X-Linked-ETag": f'"{_sha256(content)}"',
            }
            own = {"X-Repo-Commit": repo.commit, "ETag": f'"{_git_oid(content)}"', **linked}
            if repo.xet:
                token = f"{self._place}/api/models/{name}/xet-read-token/{repo.commit}"
                own |= {"X-Xet-Hash": _sha256(content), "X-Xet-Refresh-Route": token}
            self.send(302, headers=own | repo.headers)

        def _from_xet(self, parts: list[str]) -> None:
            """Of `v1/reconstructions/HASH`, or a block: `HASH/NUMBER`."""
            if parts[0] == "v2":
                self._error(404, "")
                return
            wanted = parts[2] if parts[0] == "v1" else parts[0]
            repo, content = next(
                (repo, content)
                for repo in hub.repos.values()
                for content in repo.files.values()
                if _sha256(content) == wanted
            )
            size = len(content)
            if repo.passing:
                self._error(repo.passing.pop(0), "")
            elif parts[0] == "v1":
                begin, end = _range(self.headers.get("Range"), size)
                if begin >= size:
                    self._error(416, "")
                    return
                blocks = f"{self._place}/xet/{wanted}"
                place = f"{blocks}/{{}}".format
                self.send(200, xet.reconstruction(size, begin, end, place))
            else:
                sent = b"".join(xet.block(int(parts[1]), content))
                part = f"bytes 0-{len(sent) - 1}/{len(sent)}"
                self.head(206, {"Content-Range": part, "Content-Length": str(len(sent))})
                self._send(sent, 0, len(sent))

        def _file(self, name: str, repo: Repo, file: str, body: bool) -> None:
            content = repo.files[file]
            size = len(content)
            start, end = _range(self.headers.get("Range"), size)
            if start >= size > 0:
                self._error(416, "")
                return
            own = {"ETag": f'"{_sha256(content)}"', "X-Repo-Commit": repo.commit, **repo.headers}
            own |= {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
            if end - start < size:
                own["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            self.head(206 if end - start < size else 200, own)
            if not body:
                return
            hub.fetched.append((name, file, start))
            half = size // 2
            if file in repo.cut | repo.slow and start < half:
                self._send(content, start, half)
                self.wfile.flush()
                if file in repo.slow:
                    hub.halted.set()
                    hub.closing.wait(60)
                repo.cut.discard(file)
                self.close_connection = True
                return
            self._send(content, start, end)

        def _send(self, content: bytes, start: int, end: int) -> None:
            try:
                self.wfile.write(content[start:end])
            except ConnectionError:  # the client is gone
                self.close_connection = True

    return Handler


def _range(header: str | None, size: int) -> tuple[int, int]:
    first, _, last = (header or "bytes=0-").removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1 if last else size, size)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


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
    return [_entry(repo, file, content) for file, content in repo.files.items()]


def _entry(repo: Repo, file: str, content: bytes) -> dict[str, Any]:
    entry = {
        "type": "file",
        "path": repo.names.get(file, file),
        "size": len(content),
        "oid": _git_oid(content),
    }
    if not file.endswith(repo.stored or "/"):
        return entry
    linked = {"oid": _sha256(content), "size": len(content), "pointerSize": 135}
    return entry | {"lfs": linked}

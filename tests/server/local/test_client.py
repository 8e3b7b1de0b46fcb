"""The client of the local API: servers that don't reply, that die, and that are stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.server.local.wire import line_of
from tests.cli.harness import CLIP, Outcome, run_here
from tests.loop.pretended import Pretended
from tests.server.local.conftest import Served

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def ask() -> Outcome:
    return run_here("ask", CLIP, "What?", "--frames", "2")


@contextmanager
def other_server(folder: Path, *replies: bytes) -> Iterator[None]:
    """Something that listens at the socket, says this, and hangs up."""

    def talk() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            for reply in replies:
                connection.sendall(reply)

    folder.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "serve.sock"))
        listening.listen()
        thread = threading.Thread(target=talk)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def alone(pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that answer by themselves have a model that pretends."""
    monkeypatch.setattr("dycoke_cli.models.load.load", lambda model, **_: pretended.load())


def chunk(**event: Any) -> bytes:
    return framed(line_of(event))


def framed(line: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(line), line)


READY = chunk(event="ready")
ENDED = "the server ended while it answered; run it again"
OTHERWISE = "the server sent what this version doesn't; run it again"


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("replies", "code", "sentence"),
    [
        ((), 0, "it didn't answer"),
        ((b'{"event": "cold"}\n',), 0, "it didn't answer"),  # a server of version 0.1
        ((b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",), 0, "(HTTP 404)"),
        ((HEAD,), 0, "it ended"),
        ((HEAD + b"0\r\n\r\n",), 0, "it ended"),
        ((HEAD + b"1\r\nx\r\n0\r\n\r\n",), 0, "it didn't answer"),
        ((HEAD, chunk(event="text", text="a")), 0, "it didn't answer"),
        ((HEAD, chunk(event="failed", code="usage", message="no such layer")), 2, "no such layer"),
        ((HEAD, READY), 1, ENDED),
        ((HEAD, READY, chunk(ask=0, event="text", text="Half an")), 1, ENDED),
        ((HEAD, READY, chunk(ask=0, event="text", text=7)), 1, OTHERWISE),
        ((HEAD, READY, chunk(ask="x", event="text", text="a")), 1, OTHERWISE),
        ((HEAD, READY, chunk(ask=7, event="text", text="of nobody")), 1, ENDED),
        ((HEAD, READY, chunk(event="failed", code="failed", message="a fault")), 1, "a fault"),
        ((HEAD, READY, framed(b"[%s]\n" % b", ".join([b"[[]]"] * 400_000))), 1, ENDED),
    ],
)
def test_a_server_that_gives_no_whole_answer(
    folder: Path, replies: tuple[bytes, ...], code: int, sentence: str
) -> None:
    with other_server(folder, *replies):
        run = ask()
    assert sentence in run.err
    assert run.code == code


def test_stop(local: Served, folder: Path) -> None:
    assert run_here("serve", "stop").code == 0
    assert not (folder / "serve.sock").exists()
    run = run_here("serve", "stop")
    assert (run.code, run.err) == (1, "Error: no server of yours is running\n")


def test_a_server_that_does_not_stop(folder: Path) -> None:
    with other_server(folder):
        assert run_here("serve", "stop").code == 6


def test_no_http_is_imported_before_there_is_a_server() -> None:
    code = (
        "import sys, dycoke_cli.cli.commands.ask\n"
        "from dycoke_cli.server.local import client, unix_socket\n"
        "assert unix_socket.connect() is None\n"
        "assert not {'http.client', 'uvicorn', 'httpx', 'fastapi'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

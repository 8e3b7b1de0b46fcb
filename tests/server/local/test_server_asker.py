"""A command's end of the socket: servers that don't reply, and that die."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dycoke_cli.ask import Failed, Text
from dycoke_cli.errors import UsageError
from tests.cli.harness import CLIP, Outcome, run_here


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


READY = pickle.dumps("") + pickle.dumps(None)
ENDED = "the server ended while it answered; run it again"


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize(
    ("replies", "code", "sentence"),
    [
        ((), 0, "it didn't answer"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), 0, "it didn't answer"),  # a server of version 0.2
        ((pickle.dumps("it has the model x"),), 0, "it has the model x"),
        ((pickle.dumps(""), pickle.dumps(UsageError("no such layer"))), 2, "no such layer"),
        ((READY,), 1, ENDED),
        ((READY, pickle.dumps((0, Text("Half an")))), 1, ENDED),
        ((READY, pickle.dumps((7, Text("of nobody")))), 1, ENDED),
        ((READY, pickle.dumps((0, Failed(UsageError("a fault"))))), 2, "a fault"),
        ((READY, b"nonsense"), 1, ENDED),
    ],
)
def test_a_server_that_gives_no_whole_answer(
    folder: Path, replies: tuple[bytes, ...], code: int, sentence: str
) -> None:
    with other_server(folder, *replies):
        run = ask()
    assert sentence in run.err
    assert run.code == code


def test_no_http_is_imported_before_there_is_a_server() -> None:
    code = (
        "import sys, dycoke_cli.cli.commands.ask\n"
        "from dycoke_cli.server.local import server_asker, unix_socket\n"
        "assert unix_socket.connect() is None\n"
        "assert not {'http.client', 'uvicorn', 'httpx', 'starlette'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Processes at the other end of a pipe: what they send comes, and that they ended is noticed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dycoke_cli.processes import GoneError, Worker, wait


def serve(connection: Connection, greeting: str) -> None:
    """Answer, or do what the word says."""
    while True:
        word = connection.recv()
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "leave":
            sys.exit(3)
        if word == "sleep":
            time.sleep(1000)
        connection.send(f"{greeting} {word}")


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker(serve, "hello")
    yield one
    one.stop()


def ended(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_messages_go_to_and_fro(worker: Worker) -> None:
    for word in ("you", "again"):
        worker.send(word)
        assert wait([worker], 60) == [worker]
        assert worker.receive() == f"hello {word}"
    assert wait([worker], 0) == []


@pytest.mark.parametrize(("word", "code", "killed"), [("die", -9, True), ("leave", 3, False)])
def test_its_end_is_noticed(worker: Worker, word: str, code: int, killed: bool) -> None:
    worker.send(word)
    with pytest.raises(GoneError) as gone:
        worker.receive()
    assert (gone.value.exit_code, gone.value.killed) == (code, killed)
    with pytest.raises(GoneError):
        worker.receive()


def test_ctrl_c_is_not_for_it(worker: Worker) -> None:
    worker.send("you")
    assert worker.receive() == "hello you"
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGHUP)
    worker.send("still")
    assert worker.receive() == "hello still"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_stop_ends_it_whatever_it_does(worker: Worker) -> None:
    worker.send("sleep")
    os.kill(worker.pid, signal.SIGSTOP)
    worker.stop()
    assert ended(worker.pid)


@pytest.mark.parametrize("word", ["y", "sleep"])
def test_it_ends_with_us(word: str) -> None:
    """A worker whose parent is killed ends, whether it waits for a message or is at work."""
    import subprocess

    code = (
        "import sys, time; from tests.test_processes import Worker, serve\n"
        "if __name__ == '__main__':\n"
        "    w = Worker(serve, 'x'); w.send('y'); w.receive(); w.send(sys.argv[1])\n"
        "    print(w.pid, flush=True); time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", code, word]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while not ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)

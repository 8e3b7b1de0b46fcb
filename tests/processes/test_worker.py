"""Processes at the other end of a pipe: what they send comes, and that they ended is noticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dycoke_cli.processes import zygote as processes
from dycoke_cli.processes.worker import Worker, start_preloading, wait
from dycoke_cli.processes.zygote import GoneError
from tests.imports import python_path
from tests.waiting import until


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
        if word == "files":
            connection.send([os.readlink(f"/proc/self/fd/{number}") for number in range(3)])
            continue
        if word == "start":  # as Ray does
            subprocess.run(["true"], check=True, preexec_fn=os.getpid)
        connection.send(f"{greeting} {word}")


linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
STARTS = [pytest.param(False, id="fresh"), pytest.param(True, id="forked", marks=linux)]
FORKED = pytest.mark.parametrize("worker", STARTS[1:], indirect=True)


@pytest.fixture(params=STARTS)
def worker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(processes, "FORKS", request.param)
    one = Worker(serve, "hello", preload=("dycoke_cli.version",))
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


@linux
def test_its_code_may_read_and_print(worker: Worker) -> None:
    """The pipe was stdin and stdout."""
    worker.send("files")
    stdin, stdout, stderr = worker.receive()
    assert (stdin, stdout) == (os.devnull, stderr)


@FORKED
def test_it_starts_processes_itself(worker: Worker) -> None:
    worker.send("start")
    assert worker.receive() == "hello start"


@pytest.mark.parametrize(("word", "code", "killed"), [("die", -9, True), ("leave", 3, False)])
def test_its_end_is_noticed(worker: Worker, word: str, code: int, killed: bool) -> None:
    worker.send(word)
    with pytest.raises(GoneError) as gone:
        worker.receive()
    assert (gone.value.exit_code, gone.value.killed) == (code, killed)
    with pytest.raises(GoneError):
        worker.receive()


@FORKED
def test_ctrl_c_is_not_for_it(worker: Worker) -> None:
    worker.send("you")
    assert worker.receive() == "hello you"
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGHUP)
    worker.send("still")
    assert worker.receive() == "hello still"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@linux
def test_no_file_is_left_whatever_ends_the_process(tmp_path: Path) -> None:
    """Neither after a kill nor after `os._exit`, with which a command ends."""
    code = (
        "import os, sys; from dycoke_cli.processes.worker import Worker;"
        "from tests.processes.test_worker import serve;"
        "workers = [Worker(serve, 'hello', preload=('dycoke_cli.version',)) for _ in '12'];"
        "workers[1].send('you'); assert workers[1].receive() == 'hello you';"
        "print(os.listdir(os.environ['TMPDIR'])); sys.stdout.flush(); os._exit(0)"
    )
    command = [sys.executable, "-c", code]
    folder = tmp_path / ("long" * 30)  # longer than the path of a socket may be
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, os.listdir(folder)) == ("[]\n", [])


def test_stop_ends_it_whatever_it_does(worker: Worker) -> None:
    worker.send("sleep")
    os.kill(worker.pid, signal.SIGSTOP)
    worker.stop()
    assert ended(worker.pid)


@pytest.mark.parametrize("word", ["y", "sleep"])
@pytest.mark.parametrize("forks", STARTS)
def test_it_ends_with_us(word: str, *, forks: bool) -> None:
    """A worker whose parent is killed ends, whether it waits for a message or is at work.

    So does the process that it was forked from: nobody holds the parent's stdout any more.
    """
    code = (
        "import sys, time; from tests.processes.test_worker import *\n"
        "if __name__ == '__main__':\n"
        f"    processes.FORKS = {forks}\n"
        "    w = Worker(serve, 'x')\n"
        "    w.send('y'); w.receive(); w.send(sys.argv[1])\n"
        "    print(w.pid, flush=True); time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", code, word]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate(timeout=30)
    until(lambda: ended(pid), 30)


def tell_mask(connection: Connection) -> None:
    """Say which signals are kept from this process."""
    connection.send(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))


@pytest.mark.parametrize("forks", STARTS)
def test_ctrl_c_reaches_no_worker_not_even_the_first(*, forks: bool) -> None:
    code = (
        "from tests.processes.test_worker import *\n"
        f"processes.FORKS = {forks}\n"
        "start = lambda: Worker(tell_mask)\n"
        "if __name__ == '__main__': print([start().receive() for _ in range(2)])"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    masked = sorted((signal.SIGINT, signal.SIGHUP))
    assert run.stdout.strip() == str([masked, masked])


def tell_surroundings(connection: Connection, name: str) -> None:
    """Say where this process was started and what it was given."""
    connection.send((os.getppid(), os.getcwd(), os.environ.get(name), name in sys.modules))


@linux
def test_a_forked_worker_has_todays_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those in which the process was started that it is forked from."""
    monkeypatch.setattr(processes, "_zygotes", {})
    monkeypatch.chdir(tmp_path)
    found = []
    for value in ("first", "second", None):
        monkeypatch.delenv("DYCOKE_TEST", raising=False)
        if value is not None:
            monkeypatch.setenv("DYCOKE_TEST", value)
        worker = Worker(tell_surroundings, "DYCOKE_TEST", preload=("dycoke_cli.version",))
        found.append(worker.receive())
        worker.stop()
    parents, *rest = zip(*found, strict=True)
    assert len({*parents} - {os.getpid()}) == 1
    assert rest == [(str(tmp_path),) * 3, ("first", "second", None), (False,) * 3]


@linux
def test_a_file_in_the_folder_isnt_taken_for_a_module(tmp_path: Path) -> None:
    """Python looks there first; `dycoke` itself doesn't."""
    (tmp_path / "fractions.py").write_text("raise SystemExit('somebody else's file')")
    code = (
        "from dycoke_cli.processes.worker import Worker\n"
        "from tests.processes.test_worker import *\n"
        "if __name__ == '__main__':\n"
        "    print(Worker(tell_surroundings, 'fractions', preload=('fractions',)).receive()[-1])"
    )
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(code)
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=with_path(), capture_output=True, text=True
    )
    assert (run.stdout.strip(), run.stderr) == ("True", "")


@linux
@pytest.mark.parametrize("closed", [False, True])
def test_what_is_printed_goes_to_stderr(tmp_path: Path, *, closed: bool) -> None:
    """By an import, too: stdout has the answers."""
    (tmp_path / "printing.py").write_text("print('imported', flush=True)")
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.processes.test_worker import *\n"
        "worker = Worker(print_and_send, preload=('printing',))\n"
        "worker.receive()\n"
        "worker.stop()\n"
    )
    run = subprocess.run(
        [sys.executable, script],
        env=with_path(),
        capture_output=True,
        text=True,
        preexec_fn=partial(os.close, 2) if closed else None,
    )
    expected = "" if closed else "imported\ncomputed\n"
    assert (run.returncode, run.stdout, run.stderr) == (0, "", expected)


def print_and_send(connection: Connection) -> None:
    print("computed")
    connection.send(None)


@linux
def test_one_that_is_started_in_a_folder_that_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    worker = Worker(serve, "hello")
    worker.send("you")
    assert worker.receive() == "hello you"
    worker.stop()


def with_path(*first: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": python_path(*first), **more}


def test_threads_that_start_workers_at_one_time_keep_the_environment() -> None:
    """The zygote is started with variables of its own, once."""
    before = dict(os.environ)
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            list(threads.map(start_preloading, [()] * 8))
            assert dict(os.environ) == before

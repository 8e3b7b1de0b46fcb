"""Forks of a process that has done the imports: alone, limited, and ended with their parents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.processes import isolated
from dycoke_cli.processes.isolated import Channel, Isolated
from dycoke_cli.processes.zygote import GoneError, zygote
from tests.processes.test_worker import STARTS, ended
from tests.waiting import until

NAME = __name__
_prepared = False


def prepare() -> None:
    """Note that this ran."""
    global _prepared
    _prepared = True


def serve(channel: Channel) -> None:
    """Do what each message says, and answer."""
    channel.send({})
    while True:
        match channel.receive()[0]["do"]:
            case "exit":
                os._exit(7)
            case "end":
                os._exit(0)
            case "fail":
                raise ValueError
            case "die":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hide":
                os.close(0)
                os.close(1)
                time.sleep(60)
        files = Path("/proc/self/fd")
        channel.send(
            {
                "prepared": _prepared,
                "parent": os.getppid(),
                "files": sorted(int(one.name) for one in files.iterdir() if one.exists()),
                "streams": [os.readlink(files / "0"), os.readlink(files / "1")],
                "environment": dict(os.environ),
                "status": Path("/proc/self/status").read_text(),
            }
        )


def start() -> Isolated:
    one = Isolated(f"{NAME}:serve", f"{NAME}:prepare")
    one.await_ready()
    return one


def told(one: Isolated, do: str = "tell") -> dict[str, Any]:
    one.send({"do": do})
    return one.receive()


@pytest.fixture
def process() -> Iterator[Isolated]:
    one = start()
    yield one
    one.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="no forks elsewhere")
def test_each_is_a_fork_that_holds_no_socket_but_its_own(
    process: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that of the zygote it would get what other processes are sent."""
    monkeypatch.setenv("LC_ONE", "later than the zygote")
    monkeypatch.setenv("HF_TOKEN", "secret")
    other = start()
    try:
        one, two = told(process), told(other)
    finally:
        other.stop()
    assert one["parent"] == two["parent"] != os.getpid()
    assert one["prepared"]
    assert [*one["files"], *two["files"]] == [0, 1, 2, 0, 1, 2]
    assert one["streams"][0] == one["streams"][1]
    assert not {*one["streams"]} & {*two["streams"]}
    assert two["environment"]["LC_ONE"] == "later than the zygote"
    assert "HF_TOKEN" not in two["environment"]
    assert "NoNewPrivs:\t1" in one["status"]
    assert ended(other.pid)


@pytest.mark.parametrize("forks", STARTS)
def test_no_secret_comes_along(monkeypatch: pytest.MonkeyPatch, *, forks: bool) -> None:
    monkeypatch.setattr("dycoke_cli.processes.zygote.FORKS", forks)
    monkeypatch.setattr("dycoke_cli.processes.zygote._zygotes", {})
    monkeypatch.setenv("HF_TOKEN", "secret")
    one = start()
    assert "HF_TOKEN" not in told(one)["environment"]
    one.stop()


@pytest.mark.parametrize("forks", STARTS)
@pytest.mark.parametrize(
    ("do", "code"), [("exit", 7), ("end", 0), ("fail", 1), ("die", -11), ("hide", -9)]
)
def test_its_end_is_told(
    monkeypatch: pytest.MonkeyPatch, *, forks: bool, do: str, code: int
) -> None:
    """As where processes can't be forked; one that hides its end is killed."""
    monkeypatch.setattr("dycoke_cli.processes.zygote.FORKS", forks)
    if do == "hide":
        monkeypatch.setattr("dycoke_cli.processes.zygote._ENDING_S", 0.2)
    one = start()
    with pytest.raises(GoneError) as gone:
        told(one, do)
    assert gone.value.exit_code == code
    with pytest.raises(GoneError) as gone:
        told(one)
    assert gone.value.exit_code == code
    assert ended(one.pid)
    one.stop()


def test_one_that_is_late_or_stopped_is_gone(process: Isolated) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(isolated.LateError), process.within(0.05):
        told(process)
    assert ended(process.pid)
    early = Isolated(f"{NAME}:serve", f"{NAME}:prepare")
    early.stop()  # before it was ready
    with pytest.raises(GoneError):
        early.await_ready()


@pytest.mark.skipif(sys.platform != "linux", reason="no forks elsewhere")
def test_a_zygote_that_was_killed_is_replaced(process: Isolated) -> None:
    of_all = zygote(isolated._ENTRY, f"{NAME}:prepare", trusted=False)
    of_all._process.kill()
    of_all._process.wait()
    with pytest.raises(GoneError) as gone:
        told(process)
    assert gone.value.killed
    one = start()
    assert told(one)["prepared"]
    one.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="no forks elsewhere")
def test_forks_that_heed_nothing_end_with_the_process_that_wanted_them() -> None:
    code = (
        "import os, signal\n"
        f"from {NAME} import start\n"
        "one = start()\n"
        "os.kill(one.pid, signal.SIGSTOP)\n"
        "print(one.pid, one._process._zygote._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    first, second = map(int, done.stdout.split())
    until(lambda: ended(first) and ended(second), 20)

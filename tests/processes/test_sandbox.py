"""What a sealed process can't do any more, tried from inside, and what it still can."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from dycoke_cli.processes import sandbox
from dycoke_cli.processes.sandbox import _CALLS
from tests.processes.sealed import status_of

TRY = """
import ctypes, fcntl, json, os, platform, signal, socket, sys, threading
from dycoke_cli.processes import sandbox
from dycoke_cli.processes.sandbox import give_up_privileges, seal
libc = ctypes.CDLL(None, use_errno=True)
TGKILL = {"x86_64": 234, "aarch64": 131}.get(os.uname().machine, 131)
inside, outside = os.pipe()
kept = open(sys.argv[1], "rb")
if sys.argv[2] == "elsewhere":
    platform.machine = lambda: "riscv64"
if sys.argv[2] == "filter alone":
    sandbox._landlock = lambda libc: False
if sys.argv[2] != "open":
    give_up_privileges()  # without which only root may have a filter
means = seal() if sys.argv[2] != "open" else ()

def tried(what):
    try:
        what()
    except (OSError, RuntimeError) as error:
        return False
    return True

def fork():
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)

def thread():
    one = threading.Thread(target=lambda: os.write(outside, b"x"))
    one.start()
    one.join()
    assert os.read(inside, 1) == b"x"

def signal_thread(process):
    if libc.syscall(TGKILL, process, process, 0):
        raise OSError(ctypes.get_errno())

def signals_of_a_descriptor():
    fcntl.fcntl(inside, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(inside, fcntl.F_SETSIG, signal.SIGCONT)

can = {
    "read a file": tried(lambda: open(sys.argv[1], "rb").close()),
    "write a file": tried(lambda: open(sys.argv[1] + ".new", "wb").close()),
    "list a folder": tried(lambda: os.listdir("/")),
    "remove a file": tried(lambda: os.remove(sys.argv[1] + ".new")),
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3]))).close()),
    "fork": tried(fork),
    "signal": tried(lambda: os.kill(os.getppid(), 0)),
    "signal a thread of another process": tried(lambda: signal_thread(os.getppid())),
    "signal an own thread": tried(lambda: signal_thread(os.getpid())),
    "have a descriptor signal another process": tried(signals_of_a_descriptor),
    "duplicate a descriptor": tried(lambda: os.close(os.dup(inside))),
    "close a descriptor on exec": tried(lambda: fcntl.fcntl(inside, fcntl.F_SETFD, 1)),
    "trace": libc.ptrace(0, 0, 0, 0) == 0,
    "read what is open": tried(lambda: kept.read(1)),
    "start a thread": tried(thread),
}
print(json.dumps({"means": means, "can": can}))
"""
STAYS = {
    "read what is open",
    "start a thread",
    "signal an own thread",
    "duplicate a descriptor",
    "close a descriptor on exec",
}


def tried(folder: Path, sealed: str) -> dict[str, Any]:
    (folder / "secret").write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, "-c", TRY, str(folder / "secret"), sealed, port]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_of_system_calls_are_those_of_the_kernel(machine: str) -> None:
    if not (header := Path("/usr/include", HEADERS[machine])).exists():
        pytest.skip("the headers of the kernel (linux-libc-dev) aren't installed")
    found = re.findall(r"__NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text())
    known = {name: int(number) for name, number in found}
    known.setdefault("newfstatat", known.get("fstatat", -1))
    _, clone, calls = _CALLS[machine]
    assert {**calls, "clone": clone} == {name: known[name] for name in (*calls, "clone")}


FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF, 6: 0xFFFF, 9: 0xFFFF}


@pytest.mark.parametrize("version", FILES)
def test_each_landlock_denies_all_rights_that_it_knows(version: int) -> None:
    """As linux/landlock.h lists them: of files, of TCP since 4, and scopes since 6."""
    kernel = Mock(**{"syscall.side_effect": [version, ruleset := os.dup(0), 0]})
    assert sandbox._landlock(kernel)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(ruleset)
    _, (create, made, size, flags), restrict = (one.args for one in kernel.syscall.mock_calls)
    rights = [FILES[version], *[3] * ((version >= 4) + (version >= 6))]
    assert made == struct.pack(f"{len(rights)}Q", *rights)
    assert (create, size.value, flags, restrict) == (444, len(made), 0, (446, ruleset, 0))
    assert not sandbox._landlock(Mock(**{"syscall.return_value": 0}))
    assert not sandbox._landlock(Mock(**{"syscall.side_effect": [version, -1]}))


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
@pytest.mark.parametrize("means", ["sealed", "filter alone"])
def test_only_what_is_open_stays(tmp_path: Path, means: str) -> None:
    open_process = tried(tmp_path, "open")
    assert all(open_process["can"].values()), "the tries themselves work"
    status_of(os.getpid())  # skips where no filter is known
    sealed = tried(tmp_path, means)
    assert "seccomp" in sealed["means"]
    assert means == "sealed" or sealed["means"] == ["seccomp"]
    assert {what for what, worked in sealed["can"].items() if worked} == STAYS
    assert not (tmp_path / "secret.new").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_files_are_out_of_reach_where_no_filter_is_known(tmp_path: Path) -> None:
    sealed = tried(tmp_path, "elsewhere")
    assert "seccomp" not in sealed["means"]
    if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1:
        pytest.skip("this kernel has no Landlock")
    assert sealed["means"] == ["landlock"]
    worked = {what for what, worked in sealed["can"].items() if worked}
    assert worked >= STAYS
    assert not worked & {"read a file", "write a file", "list a folder", "remove a file"}

"""Zygote: a process that has done the imports, and that child processes are forked from (Linux).

Python with PyAV takes half a second of CPU time to start, with torch some seconds; a fork of it
takes milliseconds. So each untrusted video can have a process of its own. The zygote reads nothing
untrusted. A fork has no way to reach it: it gets another socket in place of the zygote's, and can't
signal it in the sandbox.

A request is a packet of its kind and the number of a fork. `_FORK` comes with the socket that
becomes stdin and stdout of the fork; only `_EXIT_CODE` is answered.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import count
from typing import Any, NoReturn

from dycoke_cli.errors import debugging
from dycoke_cli.processes.sandbox import end_with

# Variables that an interpreter needs to start. All others are withheld: tokens and API keys are
# among them.
_ENVIRONMENT = ("DYCOKE_DEBUG", "DYLD_", "LANG", "LC_", "LD_", "PYTHON", "SYSTEMROOT", "TZ")
# The memory limit is one of address space, which malloc and BLAS reserve per thread. With more
# threads of BLAS the zygote couldn't be forked, either.
_FRUGAL = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
_START = "from dycoke_cli.processes.zygote import serve; serve()"
_CALL = "import sys; from dycoke_cli.processes.zygote import function_of as of; of(sys.argv[1])()"
_REQUEST, _REPLY = struct.Struct("<cQ"), struct.Struct("<?i")
_FORK, _KILL, _STOP, _EXIT_CODE = b"f", b"k", b"s", b"e"
FORKS = sys.platform == "linux"
"""Whether children are forked: system libraries of macOS may hold threads that break in a fork."""
KILLED = -9
"""Exit code of a process that was killed."""
# A process that waits for a disk which doesn't answer can't be killed. Others end in milliseconds.
_DYING_S, _POLL_S = 2.0, 0.001
_ENDING_S = 10.0


class GoneError(Exception):
    """A worker exited unexpectedly."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code

    @property
    def killed(self) -> bool:
        """Whether it was killed by SIGKILL, which is what Linux sends when memory runs out."""
        return self.exit_code == KILLED


def why_gone(child: Fork | Interpreter) -> GoneError:
    """The error of a child that has closed its end: it has exited, or is killed here."""
    deadline = time.monotonic() + _ENDING_S
    while (code := child.exit_code()) is None:
        if time.monotonic() > deadline:  # it has closed its end and still runs
            child.kill()
            return GoneError(KILLED)
        time.sleep(_POLL_S)  # equivalent: else it would be busy
    return GoneError(code)


class Fork:
    """A process that was forked from a zygote."""

    def __init__(self, zygote: Zygote, number: int) -> None:
        self._zygote, self._number = zygote, number
        self._code: int | None = None
        self._asking = threading.Lock()

    def kill(self) -> None:
        """Kill it. Its exit code can still be asked for."""
        self._zygote.send(_KILL, self._number)

    def stop(self) -> None:
        """Kill it and forget it; doesn't wait."""
        self._zygote.send(_STOP, self._number)

    def exit_code(self) -> int | None:
        """Exit code, or the negative number of the signal that killed it; None if it runs."""
        with self._asking:
            if self._code is None:
                self._code = self._zygote.exit_code(self._number)
        return self._code


class Zygote:
    """Parent's end of a zygote. The zygote and its forks exit with this process.

    Args:
        entry: function that a fork calls, as "module:name".
        prepare: modules to import, or functions that do it, as "module:name". Neither may start
            threads or initialize an accelerator, since neither survives a fork. A module that fails
            to import is skipped; the forks report the error.
        trusted: whether forks have this process's environment and stderr.
    """

    def __init__(self, entry: str, prepare: Sequence[str], *, trusted: bool) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = start_interpreter(_START, entry, *prepare, io=theirs, trusted=trusted)
        self._numbers = count()
        self._asking = threading.Lock()

    @property
    def runs(self) -> bool:
        """Whether it hasn't exited."""
        return self._process.poll() is None

    def fork(self, theirs: socket.socket) -> Fork:
        """Fork a process, without waiting for it.

        Args:
            theirs: becomes its stdin and stdout, and is closed here.
        """
        fork = Fork(self, next(self._numbers))
        with theirs, suppress(OSError):  # has exited: then the other end of `theirs` is closed
            request = _REQUEST.pack(_FORK, fork._number)
            socket.send_fds(self._socket, [request], [theirs.fileno()])
        return fork

    def send(self, kind: bytes, number: int) -> None:
        """Send a request about a fork; without effect if the zygote has exited, and its forks."""
        with suppress(OSError):
            self._socket.send(_REQUEST.pack(kind, number))

    def exit_code(self, number: int) -> int | None:
        """See `Fork.exit_code`."""
        with self._asking:
            self.send(_EXIT_CODE, number)
            try:
                reply = self._socket.recv(_REPLY.size)
            except OSError:
                reply = b""
        if not reply:  # the zygote has ended, and its forks with it
            return self._process.wait()
        has_ended, code = _REPLY.unpack(reply)
        return code if has_ended else None


_zygotes: dict[tuple[int, str, tuple[str, ...]], Zygote] = {}
_finding = threading.Lock()


def zygote(entry: str, *prepare: str, trusted: bool) -> Zygote:
    """The zygote of this process with these functions (see `Zygote`); started if none runs.

    It is there at once: its imports aren't waited for.
    """
    # By process: a fork of this one must not share the socket.
    key = os.getpid(), entry, prepare
    with _finding:
        if key not in _zygotes or not _zygotes[key].runs:
            _zygotes[key] = Zygote(entry, prepare, trusted=trusted)
        return _zygotes[key]


class Interpreter:
    """A fresh interpreter."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.kill, self.exit_code = process.kill, process.poll

    def stop(self) -> None:
        """Kill it, and release its process id."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # it waits for a disk, and can't be killed
            self._process.wait(_ENDING_S)


def start_child(
    entry: str, *prepare: str, trusted: bool
) -> tuple[Fork | Interpreter, socket.socket]:
    """Start a process that calls a function: a fork on Linux, elsewhere a fresh interpreter.

    Returns:
        The process, and the other end of the socket that is its stdin and stdout. Args: see
        `Zygote`.
    """
    ours, theirs = socket.socketpair()
    if FORKS:
        return zygote(entry, *prepare, trusted=trusted).fork(theirs), ours
    with theirs:
        return Interpreter(start_interpreter(_CALL, entry, io=theirs, trusted=trusted)), ours


def start_interpreter(
    code: str, *arguments: str, io: Any, trusted: bool
) -> subprocess.Popen[bytes]:
    """Start Python; one that isn't trusted gets of this process's environment the import path.

    It has Ctrl-C and hang-ups blocked: a terminal sends them to every process, and only the parent
    handles them.
    """
    environment = dict(os.environ) if trusted else {**passed_environment(), **_FRUGAL}
    environment |= import_path()
    errors = None if trusted or debugging() else subprocess.DEVNULL
    command = [sys.executable, "-c", code, *arguments]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        return subprocess.Popen(
            command, stdin=io, stdout=io, stderr=errors, env=environment, bufsize=0
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def passed_environment() -> dict[str, str]:
    """The environment variables that an isolated process gets."""
    return {name: text for name, text in os.environ.items() if name.startswith(_ENVIRONMENT)}


def serve() -> NoReturn:
    """Entry point of the zygote: fork until the parent closes its end, as by exiting."""
    import fcntl  # which Windows lacks

    entry, *prepare = sys.argv[1:]
    channel, forks = socket.socket(fileno=detached_channel()), dict[int, int]()
    # The parent may exit while the imports run.
    signal.signal(signal.SIGIO, lambda *_: _end_if_left(channel))
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(channel, fcntl.F_GETFL)
    fcntl.fcntl(channel, fcntl.F_SETFL, flags | os.O_ASYNC)
    _end_if_left(channel)
    gc.disable()  # imports make hardly any garbage
    for name in prepare:
        if ":" in name:
            function_of(name)()
            continue
        with suppress(ImportError):
            import_module(name)
    fcntl.fcntl(channel, fcntl.F_SETFL, flags)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    gc.collect()
    gc.freeze()  # else the first collection in a fork would copy every page
    gc.enable()
    while True:
        message, files, _, _ = socket.recv_fds(channel, _REQUEST.size, 1)
        if not message:
            os._exit(0)
        kind, number = _REQUEST.unpack(message)
        pid = forks.get(number)
        if kind == _FORK:
            with suppress(OSError):  # too many processes: it counts as killed
                forks[number] = _fork(files[0], entry)
            os.close(files[0])
        elif kind == _EXIT_CODE:
            code = KILLED if pid is None else _reaped(pid)
            if code is not None:
                forks.pop(number, None)
            channel.send(_REPLY.pack(code is not None, code or 0))
        elif pid is not None:
            # Not reaped yet, so that no other process can have its id.
            os.kill(pid, signal.SIGKILL)
            if kind == _STOP:
                del forks[number]
                _await(pid)


def _end_if_left(channel: socket.socket) -> None:
    """Exit if the parent has closed its end."""
    with suppress(BlockingIOError):
        if not channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            os._exit(0)


def _await(pid: int) -> None:
    """Wait until a killed process has ended, and its memory is free."""
    deadline = time.monotonic() + _DYING_S
    while _reaped(pid) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)  # equivalent: else it would be busy


def _reaped(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _fork(file: int, entry: str) -> int:
    """Fork; in the parent, the process id."""
    zygote = os.getpid()
    if pid := os.fork():
        return pid
    try:
        end_with(zygote)
        # In place of the zygote's own socket, by which it would get the requests of all.
        for standard in (0, 1):
            os.dup2(file, standard)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        function_of(entry)()
    except BaseException:
        if debugging():
            sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def detached_channel() -> int:
    """Take the socket from stdin and stdout; returns its descriptor.

    Imported code may read and print: from then on stdin is empty, and stdout goes to stderr.
    """
    nothing = os.open(os.devnull, os.O_RDWR)  # becomes stderr if that is closed
    channel = os.dup(0)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    if nothing > 2:
        os.close(nothing)
    sys.stdout = sys.stderr  # so that nothing stays in a buffer
    return channel


def function_of(name: str) -> Callable[..., object]:
    """The function with a name such as "module:name", whose module is imported."""
    module, function = name.split(":")
    found: Callable[..., object] = getattr(import_module(module), function)
    return found


def import_path() -> dict[str, str]:
    """Environment variables that give a child process the import path of this one.

    By default a child searches the current folder first, where a user's `random.py` may be.
    """
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

"""`subprocess` for tests of commands: Python processes that begin with the libraries imported.

`Popen` and `run` start `[sys.executable, "-m", module, …]`, `[sys.executable, "-c", code, …]` and
`[sys.executable, file, …]` as `subprocess` does, but fork them from a process that has imported
what every command does, and torch and all else that the engine needs (five seconds of a processor).
Where such a command has workers, so is the process that these are forked from. One that is `fresh`
imports this package itself, for plug-ins are read then; PYTHONPATH may be another.
Ctrl-C and a hang-up reach them even if the tests run in the background.
What a fork can't do alike is a process of `subprocess`: other programs, a `preexec_fn`, environment
variables that are read while a library is imported, another system than Linux.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

ROOT = Path(__file__).parents[1]
# What commands import, and all that an answer of the bundled model needs.
IMPORTED = (
    "av", "dycoke_cli.cli.app", "dycoke_cli.cli.main", "dycoke_cli.cli.commands.ask",
    "dycoke_cli.cli.commands.batch", "dycoke_cli.cli.render.view", "dycoke_cli.loop.answer_batch",
    "dycoke_cli.models.load", "dycoke_cli.runs.converse", "dycoke_cli.runs.discovery",
    "dycoke_cli.runs.run", "dycoke_cli.server.local.server_asker",
)  # fmt: skip
OWN = ("dycoke_cli", "tests")
WORKERS = "dycoke_cli.processes.worker:serve_worker"
# Variables that libraries and the interpreter read when they begin.
READ_EARLY = ("CUDA", "FORCE_COLOR", "HF_", "HUGGINGFACE", "LC_", "LANG", "LD_", "MKL", "OMP",
              "PYTHON", "PY_COLORS", "RAY", "TORCH", "TRANSFORMERS", "XDG_")  # fmt: skip
STREAMS = ("stdin", "stdout", "stderr")
_libraries: set[str] = set()
"""The modules that a process has imported when it is forked, without those of `OWN`."""
_kept: list[Any] = []
"""What was the parent's, for objects that come to an end close files that have its numbers here."""
UNBUFFERED, PATH = "PYTHONUNBUFFERED", "PYTHONPATH"
SET_DUMPABLE, SET_CHILD_SUBREAPER = 4, 36  # of prctl(2)


@dataclass(frozen=True)
class _Start:
    """How a process begins."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    new_session: bool
    fresh: bool
    user: int | None
    group: int | None
    groups: list[int] | None


class Popen(subprocess.Popen[Any]):
    """A process that is forked where that makes no difference, and its own child all the same."""

    imported: ClassVar[Sequence[str]] = IMPORTED

    def __init__(
        self, *arguments: Any, fresh: bool = False, python: str = sys.executable, **how: Any
    ) -> None:
        self._fresh, self._python = fresh, python
        super().__init__(*arguments, **how)

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any,
        env: Mapping[str, str] | None, startupinfo: Any, creationflags: Any, shell: Any,
        p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int,
        restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: Any, start_new_session: bool,
        process_group: Any,
    ) -> None:  # fmt: skip
        environment = dict(os.environ if env is None else env)
        # What `subprocess` does itself, for it knows how.
        others = (preexec_fn, pass_fds, startupinfo, shell, process_group != -1)
        program, *arguments = [args] if isinstance(args, str) else map(str, args)
        if (
            sys.platform != "linux"
            or any(others)
            or program != self._python
            or (arguments[0].startswith("-") and arguments[0] not in ("-m", "-c"))
            or self._early(environment) != self._early(self._server(environment).environment)
        ):
            super()._execute_child(
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo,
                creationflags, shell, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
                restore_signals, gid, gids, uid, umask, start_new_session, process_group,
            )  # type: ignore[misc]  # fmt: skip
            return
        folder = str(cwd or os.getcwd())
        start = _Start(
            arguments, folder, environment, start_new_session, self._fresh, uid, gid, gids
        )
        given = (p2cread, c2pwrite, errwrite)
        streams = [own if pipe == -1 else pipe for own, pipe in enumerate(given)]
        try:
            self.pid = self._server(environment).start(start, streams)
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]
        self._child_created = True

    def _server(self, environment: Mapping[str, str]) -> _Forking:
        own = self._python == sys.executable
        return _forking(self._python, self.imported, os.environ if own else environment)

    def _early(self, environment: Mapping[str, str]) -> dict[str, str]:
        found = read_early(environment)
        return {name: found[name] for name in found if not (self._fresh and name == PATH)}


def run(command: Any, **how: Any) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run`, by `Popen` of this file."""
    data, limit, check = how.pop("input", None), how.pop("timeout", None), how.pop("check", False)
    if how.pop("capture_output", False):
        how |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if data is not None:
        how["stdin"] = subprocess.PIPE
    with Popen(command, **how) as process:
        try:
            out, err = process.communicate(data, limit)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def read_early(environment: Mapping[str, str]) -> dict[str, str]:
    """Of these variables, those that can't be changed any more once a process has begun."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_EARLY) and name != UNBUFFERED
    }


_servers: dict[tuple[str, Sequence[str]], _Forking] = {}
_turn = threading.Lock()
"""Of all: the children of one are adopted at a time."""


def _forking(python: str, imported: Sequence[str], environment: Mapping[str, str]) -> _Forking:
    """What has imported these modules, in the first environment that it was asked for."""
    with _turn:
        if (python, imported) not in _servers:
            _servers[python, imported] = _Forking(python, imported, environment)
        return _servers[python, imported]


class _Forking:
    """The process that others are forked from."""

    def __init__(
        self, python: str, imported: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.environment = read_early(environment)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [python, "-m", "tests.warm", str(theirs.fileno()), *imported],
                cwd=ROOT,
                env={**environment},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def start(self, start: _Start, streams: list[int]) -> int:
        """Begin a process, which is a child of this one; its id.

        It is forked twice, and the one between ends at once: then the nearest ancestor that asked
        for it becomes the parent.
        """
        libc = ctypes.CDLL(None)
        with _turn:
            libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._channel, [pickle.dumps(start)], streams)
                pid = int(self._channel.recv(64))
                assert self._channel.recv(64) == b"ended"
            finally:
                libc.prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        return pid

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


def _serve(channel: socket.socket, imported: Sequence[str]) -> NoReturn:
    for module in imported:
        importlib.import_module(module)
    _libraries.update(name for name in sys.modules if name.partition(".")[0] not in OWN)
    stock = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    subprocess.Popen._execute_child = partialmethod(_execute_child, stock)  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()  # else the first collection in a process would copy every page
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, streams, _, _ = socket.recv_fds(channel, 2**20, 3)
        if not message:
            os._exit(0)
        between = os.fork()
        if not between:
            between = os.getpid()
            pid = os.fork()
            if pid:
                channel.send(str(pid).encode())
                os._exit(0)
            channel.close()
            while os.getppid() == between:  # until it is the child of who asked for it
                time.sleep(0.0005)
            _begin(pickle.loads(message), streams)
        for stream in streams:
            os.close(stream)
        os.waitpid(between, 0)
        channel.send(b"ended")


def _begin(start: _Start, streams: list[int]) -> NoReturn:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    _open_streams(bool(start.environment.get(UNBUFFERED)))
    if start.new_session:
        os.setsid()
    _become(start)
    # As at a terminal, also where the tests run in the background, which ignores these.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(start.folder)
    if start.fresh:
        _forget_all_but_libraries()
        before, after = (e.get(PATH, "").split(os.pathsep) for e in (os.environ, start.environment))
        sys.path[1:] = [*filter(None, after), *(p for p in sys.path[1:] if p not in before)]
    os.environ.clear()
    os.environ.update(start.environment)
    tempfile.tempdir = None
    os._exit(_run(start.arguments))


def _become(start: _Start) -> None:
    """Change to the user and the groups that were asked for."""
    if start.groups is not None:
        os.setgroups(start.groups)
    if start.group is not None:
        os.setgid(start.group)
    if start.user is not None:
        os.setuid(start.user)
        ctypes.CDLL(None).prctl(SET_DUMPABLE, 1, 0, 0, 0)  # as of a program: it may read of itself


def _open_streams(unbuffered: bool) -> None:
    """Open stdin, stdout and stderr anew, as an interpreter does that begins."""
    for number, name in enumerate(STREAMS):
        old, written = getattr(sys, name), name != "stdin"
        mode, size = ("wb" if written else "rb"), (0 if written and unbuffered else -1)
        pipe = open(number, mode, size, closefd=False)  # noqa: SIM115 (open until the end)
        how = {"write_through": unbuffered}
        how["line_buffering"] = not unbuffered and (name == "stderr" or pipe.isatty())
        setattr(sys, name, io.TextIOWrapper(pipe, old.encoding, old.errors, **how))


def _execute_child(
    self: subprocess.Popen[Any], stock: Callable[..., None], command: Any, *how: Any
) -> None:
    """`_execute_child` of `subprocess`, but a zygote of workers imports no library anew."""
    if not isinstance(command, list) or WORKERS not in command:
        stock(self, command, *how)  # a method of its class
        return
    environment, stdin, stdout = how[5], how[9], how[12]
    self._child_created = True  # type: ignore[attr-defined]
    self.pid = os.fork()
    if self.pid:
        return
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    _forget_all_but_libraries()
    _kept.extend(getattr(sys, name) for name in STREAMS)
    _open_streams(bool(environment.get(UNBUFFERED)))
    atexit._clear()
    for number in signal.valid_signals() - {signal.SIGINT}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os._exit(_run(command[1:]))


def _forget_all_but_libraries() -> None:
    others = {*sys.modules} - _libraries
    _kept.extend(map(sys.modules.get, others | {"__main__"}))
    for name in others:
        del sys.modules[name]


def _run(arguments: list[str]) -> int:
    """Run what Python is told to with these arguments; its exit code."""
    code = 0
    try:
        _run_main(arguments)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            code = 120  # as Python has it
    return code


def _run_main(arguments: list[str]) -> None:
    how, *sys.argv = arguments
    if how == "-m":
        sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        if not os.environ.get("PYTHONSAFEPATH"):
            sys.path[0] = ""
        main = sys.modules["__main__"] = ModuleType("__main__")
        code, sys.argv[0] = sys.argv[0], "-c"
        exec(compile(code, "<string>", "exec"), vars(main))
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(how))
        sys.argv.insert(0, how)
        runpy.run_path(how, run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])

"""Worker processes, each connected by a pipe.

If the process at one end dies, the other end is notified; a worker exits with its parent. On Linux,
workers are forked from a fork server that has done the shared imports. Elsewhere each is a fresh
interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from dycoke_cli.processes.fork_server import PARENT
from dycoke_cli.storage.output_file import temporary_folder

T = TypeVar("T")

HUNG_UP = (EOFError, BrokenPipeError, ConnectionResetError)
"""Exceptions of reading or writing a pipe whose other end is closed."""

# Python has a fork server on macOS too, but system libraries there may hold threads that break in a
# fork.
_FORKS = sys.platform == "linux"
_DESCRIPTORS = "/proc/self/fd"
# Guards os.environ: `_environment_of_server` changes it for a moment, and other threads may copy it
# for their workers at the same time.
_environment = threading.Lock()


class GoneError(Exception):
    """A worker exited unexpectedly."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code

    @property
    def killed(self) -> bool:
        """Whether it was killed by SIGKILL, which is what Linux sends when memory runs out."""
        return self.exit_code == -9  # SIGKILL, for which Windows has no name


class Worker:
    """Process that runs a function.

    Args:
        serve: a module-level function, called with its end of the pipe and `arguments`. It needs no
            handling of a closed pipe: the exceptions in `HUNG_UP` end the process silently.
    """

    def __init__(
        self, serve: Callable[..., None], *arguments: Any, preload: Sequence[str] = ()
    ) -> None:
        context: Any = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
        self._connection, theirs = context.Pipe()
        # A forked worker inherits the environment of the fork server's start, so the present one is
        # sent along. Pickled by hand: unpickling imports modules, which must come after the worker
        # has set that environment.
        with _environment:
            payload = theirs, dict(os.environ), pickle.dumps((serve, arguments))
        self._process = context.Process(target=_run, args=payload, daemon=True)
        start_preloading(preload)
        try:
            # Blocks until the fork server's imports are done; Ctrl-C interrupts the wait.
            start_in_lasting_thread(self._process.start)
        except HUNG_UP as error:
            raise GoneError(1) from error
        # Otherwise this process would hold the worker's end open, and never see it close.
        theirs.close()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: Any) -> None:
        """Send a picklable object."""
        try:
            self._connection.send(message)
        except HUNG_UP as error:
            raise self._gone() from error

    def receive(self) -> Any:
        """Wait for the next object that it sends."""
        try:
            return self._connection.recv()
        except HUNG_UP as error:
            raise self._gone() from error

    def receive_into(self, buffer: memoryview) -> None:
        """Wait for bytes that fill a writable buffer."""
        try:
            self._connection.recv_bytes_into(buffer)
        except HUNG_UP as error:
            raise self._gone() from error

    def stop(self) -> None:
        """Kill the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _gone(self) -> GoneError:
        self._process.join()
        assert self._process.exitcode is not None
        return GoneError(self._process.exitcode)


def wait(workers: Collection[Worker], timeout_s: float | None = None) -> list[Worker]:
    """Wait until any worker has sent something or exited; returns those workers."""
    ready = connection.wait([worker._connection for worker in workers], timeout_s)
    return [worker for worker in workers if worker._connection in ready]


def start_preloading(modules: Sequence[str]) -> None:
    """Start the fork server, which imports modules; doesn't wait for the imports.

    There is at most one server, so only the first call has an effect. It exits with this process
    and its workers. Linux only; no effect elsewhere.

    Args:
        modules: their import must not start threads or initialize an accelerator, since neither
            survives a fork. A module that fails to import is skipped; the workers report the error.
    """
    if not _FORKS:
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(["dycoke_cli.processes.fork_server", *modules])
    with _environment, _environment_of_server(), _unnamed_socket():
        start_in_lasting_thread(forkserver.ensure_running)


def start_in_lasting_thread(start: Callable[[], T]) -> T:
    """Start a process from a thread that lives as long as this process and blocks Ctrl-C.

    Linux kills a child when the thread that started it exits (`sandbox.end_with`). The child
    inherits the blocked signals: a terminal sends Ctrl-C and hang-ups to every process, and only
    the parent handles them.
    """
    future: Future[T] = Future()
    _starter(os.getpid()).put((future, start))
    return future.result()


@cache
def _starter(pid: int) -> SimpleQueue[tuple[Future[Any], Callable[[], Any]]]:
    """Task queue of the starter thread. Cached by pid: a fork has no threads and makes its own."""
    tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
    threading.Thread(target=_start_each, args=(tasks,), daemon=True, name="starter").start()
    return tasks


def _start_each(tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> None:
    if hasattr(signal, "pthread_sigmask"):  # not on Windows, where workers ignore Ctrl-C (`_run`)
        # Starting the resource tracker unblocks the signals, so it is started before they are
        # blocked and not during the first start of a worker.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    while True:
        future, start = tasks.get()
        try:
            future.set_result(start())
        except BaseException as error:
            future.set_exception(error)


def import_path() -> dict[str, str]:
    """Environment variables that give a child process the import path of this one.

    By default a child searches the current folder first, where a user's `random.py` may be.
    """
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


@contextmanager
def _environment_of_server() -> Iterator[None]:
    """Set the variables with which the fork server is started: import path and parent's id."""
    ours = {**import_path(), PARENT: str(os.getpid())}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


@contextmanager
def _unnamed_socket() -> Iterator[None]:
    """Have a fork server that is started in the block listen at a socket without a path.

    multiprocessing makes a folder for the socket among the temporary files. It would stay there if
    this process were killed, and after `os._exit`. Linux connects to a socket by its descriptor,
    if it has /proc. Private attributes of multiprocessing: `_config` of a process,
    `_forkserver_address`.
    """
    if not os.path.isdir(_DESCRIPTORS):
        yield
        return
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    settings: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    before, folder_before = server._forkserver_address, settings.get("tempdir")
    with temporary_folder() as folder, ExitStack() as stack:
        opened = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, opened)
        # By number, since the path of a socket has 107 bytes at most, and TMPDIR may be longer.
        settings["tempdir"] = f"{_DESCRIPTORS}/{opened}"
        try:
            yield
        finally:
            settings["tempdir"] = folder_before
        if server._forkserver_address != before:
            # Open as long as this process runs: a server that ends is followed by another one.
            socket = os.open(server._forkserver_address, os.O_PATH)
            server._forkserver_address = f"{_DESCRIPTORS}/{socket}"


def _run(
    theirs: Connection,
    environment: Mapping[str, str],
    pickled: bytes,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C for all
    if not _FORKS:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(*HUNG_UP):
        serve, arguments = pickle.loads(pickled)
        serve(theirs, *arguments)


def _end_with_parent() -> None:
    """Exit when the parent does, on systems without a parent-death signal (`fork_server`).

    A closed pipe isn't enough: the worker notices it only when it reads, not while it computes.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

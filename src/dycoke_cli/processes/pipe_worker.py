"""Worker processes, each connected by a pipe.

When the process at one end dies, the other end notices; a worker ends with the process that
started it. On Linux they are forked from one process, which has done the imports that they share;
elsewhere they start as fresh interpreters.
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
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from dycoke_cli.processes.fork_server import PARENT

T = TypeVar("T")

HUNG_UP = (EOFError, BrokenPipeError, ConnectionResetError)
"""What reading or writing at one end of a pipe raises when nobody is at the other any more."""

# macOS has a fork server as well, but its own libraries may hold threads that a fork breaks.
_FORKS = sys.platform == "linux"
# Threads start workers at one time, and the fork server is started with variables of its own.
_environment = threading.Lock()


class GoneError(Exception):
    """A worker ended before it was told to.

    Args:
        exit_code: its exit code; of one that a signal ended, that signal's number below zero.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code

    @property
    def killed(self) -> bool:
        """Whether it was killed, as the system does where memory runs out."""
        return self.exit_code == -9  # SIGKILL, for which Windows has no name


class Worker:
    """A process that runs a function.

    Args:
        serve: a function of a module; its end of the pipe comes first, then `arguments`. It may
            read and write there without a care for this process's end: then it ends, too.
        arguments: that can be pickled.
        preload: modules that are imported once for all workers, where the platform allows it:
            see `start_preloading`.

    Raises:
        GoneError: the process that workers are forked from ended while it imported.
    """

    def __init__(
        self, serve: Callable[..., None], *arguments: Any, preload: Sequence[str] = ()
    ) -> None:
        context: Any = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
        self._connection, theirs = context.Pipe()
        # Forked, it would have the environment in which the server was started; what is pickled
        # here is imported there only when it has this one.
        with _environment:
            given = theirs, dict(os.environ), pickle.dumps((serve, arguments))
        self._process = context.Process(target=_run, args=given, daemon=True)
        start_preloading(preload)
        try:
            # It waits for the imports; Ctrl-C ends that.
            started_for_good(self._process.start)
        except HUNG_UP as error:
            raise GoneError(1) from error
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: Any) -> None:
        """Send something that can be pickled.

        Raises:
            GoneError: nobody is there any more.
        """
        try:
            self._connection.send(message)
        except HUNG_UP as error:
            raise self._gone() from error

    def receive(self) -> Any:
        """Wait for what it sends.

        Raises:
            GoneError: it ended without sending anything more.
        """
        try:
            return self._connection.recv()
        except HUNG_UP as error:
            raise self._gone() from error

    def receive_into(self, buffer: memoryview) -> None:
        """Wait for the bytes that it sends, and put them into a writable buffer of their size.

        Raises:
            GoneError: it ended without sending them.
        """
        try:
            self._connection.recv_bytes_into(buffer)
        except HUNG_UP as error:
            raise self._gone() from error

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _gone(self) -> GoneError:
        self._process.join()
        assert self._process.exitcode is not None
        return GoneError(self._process.exitcode)


def wait(workers: Collection[Worker], timeout_s: float | None = None) -> list[Worker]:
    """Wait until one of these workers has sent something, or ended; those that did."""
    ready = connection.wait([worker._connection for worker in workers], timeout_s)
    return [worker for worker in workers if worker._connection in ready]


def start_preloading(modules: Sequence[str]) -> None:
    """Start the process that workers are forked from, which imports modules; doesn't wait for it.

    There is one at most, so that only the first call has an effect; it ends with this process and
    its workers. Nowhere but on Linux is there any.

    Args:
        modules: that start no threads and touch no accelerator when they are imported: a fork has
            neither. One that can't be imported is left to the workers, which say why.
    """
    if not _FORKS:
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(["dycoke_cli.processes.fork_server", *modules])
    with _environment, _surroundings():
        started_for_good(forkserver.ensure_running)


def started_for_good(start: Callable[[], T]) -> T:
    """Start a process in a thread that lasts as long as this process does, and hears no Ctrl-C.

    Linux ends a child with the thread that started it (`process_limits.end_with`). What is started
    inherits that Ctrl-C and a hang-up are kept from it: they reach every process of a terminal, and
    the one that started the others deals with them.
    """
    future: Future[T] = Future()
    _starter(os.getpid()).put((future, start))
    return future.result()


@cache
def _starter(pid: int) -> SimpleQueue[tuple[Future[Any], Callable[[], Any]]]:
    """What the thread of a process starts; a fork, which has no threads, makes its own."""
    tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
    threading.Thread(target=_start_each, args=(tasks,), daemon=True, name="starter").start()
    return tasks


def _start_each(tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> None:
    if hasattr(signal, "pthread_sigmask"):  # Windows; what is started ignores Ctrl-C (`_run`)
        # Starting the tracker unblocks them, and would do so in the midst of the first start.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    while True:
        future, start = tasks.get()
        try:
            future.set_result(start())
        except BaseException as error:
            future.set_exception(error)


def import_path() -> dict[str, str]:
    """The environment variables by which a process imports from where this one does.

    By itself it looks into the current folder first, where a `random.py` may be.
    """
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


@contextmanager
def _surroundings() -> Iterator[None]:
    """Within the block, the fork server is started: with our path, and to end with this process."""
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


def _run(
    theirs: Connection,
    environment: Mapping[str, str],
    pickled: bytes,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _FORKS:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(*HUNG_UP):
        serve, arguments = pickle.loads(pickled)
        serve(theirs, *arguments)


def _end_with_parent() -> None:
    """End this process when its parent does, where the system doesn't (`fork_server`).

    The end of the pipe alone is noticed by who reads it, not by who decodes.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

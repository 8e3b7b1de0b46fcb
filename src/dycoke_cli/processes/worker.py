"""Worker processes that are sent Python objects, each by a pipe of its own.

If the process at one end dies, the other end is notified; a worker exits with its parent. On Linux,
workers are forked from a zygote that has done the shared imports. Elsewhere each is a fresh
interpreter.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from dycoke_cli.processes.zygote import FORKS, detached_channel, start_child, why_gone, zygote

HUNG_UP = (EOFError, BrokenPipeError, ConnectionResetError)
"""Exceptions of reading or writing a pipe whose other end is closed."""

_ENTRY = f"{__name__}:serve_worker"
_LOOK_S = 1.0


class Worker:
    """Process that runs a function.

    Args:
        serve: a module-level function, called with its end of the pipe and `arguments`. It needs no
            handling of a closed pipe: the exceptions in `HUNG_UP` end the process silently.
        preload: see `start_preloading`.
    """

    def __init__(
        self, serve: Callable[..., None], *arguments: Any, preload: Sequence[str] = ()
    ) -> None:
        self._process, ours = start_child(_ENTRY, *preload, trusted=True)
        self._connection = Connection(ours.detach())
        # Pickled by hand: unpickling imports modules, which must come after the worker has set the
        # environment and the import path of this process.
        there = dict(os.environ), _folder(), list(sys.path)
        self.send((*there, pickle.dumps((serve, arguments))))
        # Blocks until the shared imports are done; Ctrl-C interrupts the wait.
        self.pid: int = self.receive()

    def send(self, message: Any) -> None:
        """Send a picklable object."""
        try:
            self._connection.send(message)
        except HUNG_UP as error:
            raise why_gone(self._process) from error

    def receive(self) -> Any:
        """Wait for the next object that it sends."""
        try:
            return self._connection.recv()
        except HUNG_UP as error:
            raise why_gone(self._process) from error

    def stop(self) -> None:
        """Kill the process."""
        self._connection.close()
        self._process.stop()
        self._process.exit_code()  # answered when it has ended


def wait(workers: Collection[Worker], timeout_s: float | None = None) -> list[Worker]:
    """Wait until any worker has sent something or exited; returns those workers."""
    ready = connection.wait([worker._connection for worker in workers], timeout_s)
    return [worker for worker in workers if worker._connection in ready]


def start_preloading(modules: Sequence[str]) -> None:
    """Import modules in the zygote of workers; doesn't wait. No effect but on Linux.

    Args:
        modules: see `Zygote`.
    """
    if FORKS:
        zygote(_ENTRY, *modules, trusted=True)


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted
        return ""


def serve_worker() -> NoReturn:
    """Entry point of a worker, whose stdin and stdout are its end of the pipe."""
    # Not all systems have a signal of the parent's death. A closed pipe isn't enough: a worker
    # notices it only when it reads, not while it computes.
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    os._exit(_served(Connection(detached_channel())))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)  # equivalent: else it would be busy
    os._exit(1)


def _served(pipe: Connection) -> int:
    """Run the function that is sent; returns the exit code."""
    try:
        environment, folder, path, pickled = pipe.recv()
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path
        with suppress(OSError):  # it was deleted
            os.chdir(folder)
        pipe.send(os.getpid())
        serve, arguments = pickle.loads(pickled)
        serve(pipe, *arguments)
    except HUNG_UP:
        return 0
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

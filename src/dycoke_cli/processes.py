"""Processes that work for this one, each at the other end of a pipe.

When the process at one end dies, the other end notices; a worker ends with the process that
started it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

HUNG_UP = (EOFError, BrokenPipeError, ConnectionResetError)
"""What reading or writing at one end of a pipe raises when nobody is at the other any more."""


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
        return self.exit_code == -signal.SIGKILL


class Worker:
    """A process that runs a function.

    Args:
        serve: a function of a module; its end of the pipe comes first, then `arguments`. It may
            read and write there without a care for this process's end: then it ends, too.
        arguments: that can be pickled.
    """

    def __init__(self, serve: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, serve, arguments), daemon=True)
        # Ctrl-C and a hang-up reach every process of a terminal; this one alone deals with them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def fileno(self) -> int:
        """Of the pipe; `wait` needs it."""
        return self._connection.fileno()

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
    by_descriptor = {worker.fileno(): worker for worker in workers}
    ready = connection.wait(list(by_descriptor), timeout_s)
    return [by_descriptor[one] for one in ready if isinstance(one, int)]


def _run(theirs: Connection, serve: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(*HUNG_UP):
        serve(theirs, *arguments)


def _end_with_parent() -> None:
    """End this process when its parent does, whatever it is doing then.

    The end of the pipe alone is noticed by who reads it, not by who decodes. (Linux could send a
    signal, but does so when the thread ends that started the process.)
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

"""Isolated child process for untrusted input, with resource limits and a validated protocol.

A message is a length-prefixed JSON object of 64 KiB or less. Raw bytes follow it where both sides
know their number: what may be longer (frames, times, subtitles) isn't JSON.
Open file descriptors are passed with a message, so that the process never opens a file (on Windows
it receives file names).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, BinaryIO

from dycoke_cli.answer.json_bounds import parse
from dycoke_cli.errors import debugging
from dycoke_cli.processes.pipe_worker import GoneError, import_path, start_in_lasting_thread
from dycoke_cli.processes.process_limits import (
    end_with,
    give_up_privileges,
    limit_cpu,
    limit_memory,
)

MAX_MESSAGE_BYTES = 64 * 1024
_ENDING_S = 10.0
_LENGTH = struct.Struct("<Q")
_MOST_FILES = 2
_PASSES_FILES = hasattr(socket, "send_fds")
# Variables that an interpreter needs to start. All others are withheld: tokens and API keys are
# among them.
_ENVIRONMENT = ("DYCOKE_DEBUG", "DYLD_", "LANG", "LC_", "LD_", "PYTHON", "SYSTEMROOT")
# The memory limit is one of address space, which malloc and BLAS reserve per thread.
_FRUGAL = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
_START = "from dycoke_cli.processes.isolated import serve; serve()"


class LateError(Exception):
    """The process exceeded its time limit and was killed."""


class NonsenseError(Exception):
    """The process violated the protocol."""


class Isolated:
    """Parent's end of an isolated process that serves requests.

    Args:
        target: the serving function, as "module:name". It receives a `Channel`, and sends an empty
            message once its imports are done.
    """

    def __init__(self, target: str) -> None:
        inherited = {n: v for n, v in os.environ.items() if n.startswith(_ENVIRONMENT)}
        environment = {**inherited, **import_path(), **_FRUGAL}
        command = [sys.executable, "-c", _START, target, str(os.getpid())]
        errors = None if debugging() else subprocess.DEVNULL
        self._socket: socket.socket | None = None
        theirs: Any = subprocess.PIPE
        if _PASSES_FILES:
            self._socket, theirs = socket.socketpair()
        self._process = start_in_lasting_thread(
            lambda: subprocess.Popen(
                command, stdin=theirs, stdout=theirs, stderr=errors, env=environment, bufsize=0
            )
        )
        if self._socket is not None:
            theirs.close()
        self._late = self._is_ready = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def await_ready(self) -> None:
        """Wait until its imports are done; required before the first message.

        Raises:
            GoneError: it exited.
        """
        if not self._is_ready:
            self.receive()
            self._is_ready = True

    def limit(self, *, memory_bytes: int, cpu_s: float | None = None) -> None:
        """Limit its memory and CPU time, relative to its present use.

        Raises:
            GoneError: it has exited.
        """
        # Some systems don't permit a limit on another process. Time is bounded by `within` as well.
        with suppress(PermissionError):
            try:
                limit_memory(self.pid, memory_bytes)
                if cpu_s is not None:
                    limit_cpu(self.pid, cpu_s)
            except (FileNotFoundError, ProcessLookupError) as error:
                raise self._gone() from error

    def send(self, message: dict[str, Any], files: Sequence[BinaryIO] = ()) -> None:
        """Send a message and open files.

        Raises:
            GoneError: it has exited.
        """
        content = json.dumps(message).encode()
        try:
            if self._socket is None:
                assert self._process.stdin is not None
                self._process.stdin.write(_LENGTH.pack(len(content)) + content)
                return
            numbers = [file.fileno() for file in files]
            # With the length only: ancillary data must accompany a send that isn't split.
            socket.send_fds(self._socket, [_LENGTH.pack(len(content))], numbers)
            self._socket.sendall(content)
        except OSError as error:
            raise self._gone() from error

    def receive(self) -> dict[str, Any]:
        """Wait for a message.

        Raises:
            GoneError: it exited without sending one.
            NonsenseError: not a valid message; the process is killed.
        """
        head = bytearray(_LENGTH.size)
        self.receive_into(memoryview(head))
        (length,) = _LENGTH.unpack(head)
        # Checked before anything is allocated: a compromised process may claim any length.
        if length > MAX_MESSAGE_BYTES:
            raise self.nonsense()
        content = bytearray(length)
        self.receive_into(memoryview(content))
        try:
            message = parse(bytes(content))
        except ValueError as error:
            raise self.nonsense() from error
        if not isinstance(message, dict):
            raise self.nonsense()
        return message

    def receive_into(self, buffer: memoryview) -> None:
        """Wait for raw bytes that fill a writable buffer.

        Raises:
            GoneError: it exited without sending them.
        """
        left = buffer
        while left:
            try:
                got = self._read_into(left)
            except OSError as error:
                raise self._gone() from error
            if not got:
                raise self._gone()
            left = left[got:]

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Kill the process if the block takes longer than this time.

        Raises:
            LateError: it did.
        """
        timer = threading.Timer(seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except GoneError as error:
            if self._late:
                raise LateError from error
            raise
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Kill the process; a thread that waits for a message gets a `GoneError`."""
        self._process.kill()
        self._process.wait()

    def nonsense(self) -> NonsenseError:
        """Kill the process after a protocol violation; returns the error to raise."""
        self.stop()
        return NonsenseError()

    def _read_into(self, buffer: memoryview) -> int:
        if self._socket is not None:
            return self._socket.recv_into(buffer)
        assert self._process.stdout is not None
        return int(self._process.stdout.readinto(buffer))  # type: ignore[attr-defined]

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _gone(self) -> GoneError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_S)
        self._process.kill()  # it may have closed its end and still run
        return GoneError(self._process.wait())


class Channel:
    """Child's end of the connection."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=0) if _PASSES_FILES else None
        self._out = 0 if _PASSES_FILES else 1

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for a message and the file descriptors passed with it.

        Raises:
            EOFError: the parent closed its end.
        """
        head, files = self._read(_LENGTH.size)
        content, _ = self._read(*_LENGTH.unpack(head))
        return json.loads(content), files

    def send(self, message: dict[str, Any], raw: Any = b"") -> None:
        """Send a message followed by raw bytes.

        Raises:
            ValueError: the message is too long; nothing was sent.
        """
        content = json.dumps(message).encode()
        if len(content) > MAX_MESSAGE_BYTES:
            raise ValueError(f"its description takes more than {MAX_MESSAGE_BYTES // 1024} KiB")
        # Not concatenated, which would copy the frames of a video.
        for part in (_LENGTH.pack(len(content)) + content, raw):
            left = memoryview(part).cast("B")
            while left:
                left = left[os.write(self._out, left) :]

    def _read(self, size: int) -> tuple[bytes, list[int]]:
        read, files = b"", list[int]()
        while len(read) < size:
            if self._socket is None:
                part = os.read(0, size - len(read))
            else:
                part, more, _, _ = socket.recv_fds(self._socket, size - len(read), _MOST_FILES)
                files += more
            if not part:
                raise EOFError
            read += part
        return read, files


def serve() -> None:
    """Entry point of the child: serve until the parent closes its end."""
    target, parent = sys.argv[1:]
    # Before the imports below: the parent may exit while they run.
    end_with(int(parent))
    give_up_privileges()
    module, name = target.split(":")
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        getattr(import_module(module), name)(Channel())
    # Skips exit handlers: libraries may write files there, which the sandbox forbids.
    os._exit(0)

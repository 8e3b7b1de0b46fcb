"""Isolated child process for untrusted input, with resource limits and a validated protocol.

On Linux it is a fork of a zygote (`zygote`), elsewhere a fresh interpreter.

A message is a length-prefixed JSON object; one from the child has 64 KiB or less, unless more is
expected. Raw bytes (frames, audio) follow it where both sides know their number.
Open file descriptors are passed with a message, so that the process never opens a file.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from dycoke_cli.answer.json_schema import parse
from dycoke_cli.processes.sandbox import give_up_privileges, limit_cpu, limit_memory
from dycoke_cli.processes.zygote import (
    GoneError,
    function_of,
    passed_environment,
    start_child,
    why_gone,
)

MAX_MESSAGE_BYTES = 64 * 1024
_LENGTH = struct.Struct("<Q")
_MOST_FILES = 2
_ENTRY = f"{__name__}:serve"


class LateError(Exception):
    """The process exceeded its time limit and was killed."""


class NonsenseError(Exception):
    """The process violated the protocol."""


class Isolated:
    """Parent's end of an isolated process that serves requests.

    Attributes:
        pid: process id; 0 before `await_ready`.
        ready: what the process says of itself once it is ready; empty before.
    """

    def __init__(self, target: str, prepare: str) -> None:
        self._late = self._is_ready = False
        self.pid = 0
        self.ready: dict[str, Any] = {}
        self._process, self._socket = start_child(_ENTRY, prepare, trusted=False)
        # A fork has the environment of the zygote's start.
        with suppress(GoneError):  # which the first `receive` raises
            self.send({"target": target, "environment": passed_environment()})

    def await_ready(self) -> None:
        """Wait until its imports are done; required before the first message."""
        if not self._is_ready:
            self.pid = int(self.receive()["pid"])  # sent before it reads anything untrusted
            self.ready = self.receive()
            self._is_ready = True

    def limit(self, *, memory_bytes: int | None = None, cpu_s: float | None = None) -> None:
        """Limit its memory and CPU time, relative to its present use; None leaves a limit."""
        # Some systems don't permit a limit on another process. Time is bounded by `within` as well.
        with suppress(PermissionError):
            try:
                if memory_bytes is not None:
                    limit_memory(self.pid, memory_bytes)
                if cpu_s is not None:
                    limit_cpu(self.pid, cpu_s)
            except (FileNotFoundError, ProcessLookupError) as error:
                raise why_gone(self._process) from error

    def send(self, message: dict[str, Any], files: Sequence[BinaryIO] = ()) -> None:
        """Send a message and open files."""
        content = json.dumps(message).encode()
        try:
            numbers = [file.fileno() for file in files]
            # With the length only: ancillary data must accompany a send that isn't split.
            socket.send_fds(self._socket, [_LENGTH.pack(len(content))], numbers)
            self._socket.sendall(content)
        except OSError as error:
            raise why_gone(self._process) from error

    def receive(self, most_bytes: int = MAX_MESSAGE_BYTES) -> dict[str, Any]:
        """Wait for a message of at most so many bytes."""
        head = bytearray(_LENGTH.size)
        self.receive_into(memoryview(head))
        (length,) = _LENGTH.unpack(head)
        # Checked before anything is allocated: a compromised process may claim any length.
        if length > most_bytes:
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
        """Wait for raw bytes that fill a writable buffer."""
        left = buffer
        while left:
            try:
                got = self._socket.recv_into(left)
            except OSError as error:
                raise why_gone(self._process) from error
            if not got:
                raise why_gone(self._process)
            left = left[got:]

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Kill the process if the block takes longer than this time."""
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
        self._process.stop()
        # Requests are done in order, so the reply means that its memory is free. A zygote that is
        # still importing isn't waited for.
        if self._is_ready:
            self._process.exit_code()

    def nonsense(self) -> NonsenseError:
        """Kill the process after a protocol violation; returns the error to raise."""
        self.stop()
        return NonsenseError()

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()
        # A process that waits for a disk which doesn't answer can't be killed, nor closes its end.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class Channel:
    """Child's end of the connection."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=0)  # equivalent: 0 and 1 are one

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for a message and the file descriptors passed with it."""
        head, files = self._read(_LENGTH.size)
        content, _ = self._read(*_LENGTH.unpack(head))
        return json.loads(content), files

    def send(
        self, message: dict[str, Any], raw: Any = b"", most_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        """Send a message of at most so many bytes, followed by raw bytes."""
        content = json.dumps(message).encode()
        if len(content) > most_bytes:
            raise ValueError(f"its description takes more than {most_bytes // 1024} KiB")
        # Not concatenated, which would copy the frames of a video.
        for part in (_LENGTH.pack(len(content)) + content, raw):
            left = memoryview(part).cast("B")
            while left:
                left = left[os.write(0, left) :]  # equivalent: 0 and 1 are one

    def _read(self, size: int) -> tuple[bytes, list[int]]:
        read, files = b"", list[int]()
        while len(read) < size:
            part, more, _, _ = socket.recv_fds(self._socket, size - len(read), _MOST_FILES)
            files += more
            if not part:
                raise EOFError
            read += part
        return read, files


def serve() -> None:
    """Entry point of the child: call the target, which serves until the parent closes its end."""
    give_up_privileges()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        channel = Channel()
        first, _ = channel.receive()
        os.environ.update(first["environment"])
        channel.send({"pid": os.getpid()})
        function_of(first["target"])(channel)
    # Skips exit handlers: libraries may write files there, which the sandbox forbids.
    os._exit(0)

"""Video on stdin, copied to an unnamed temporary file.

Most containers need seeking, which a pipe doesn't support. The space of an unnamed file is freed
however this process ends.
"""

from __future__ import annotations

import io
import os
import select
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from dycoke_cli.errors import OutputError, UsageError, VideoError
from dycoke_cli.video.files import STDIN_NAME

MAX_SPOOLED_BYTES = 8 * 1024**3
_CHUNK_BYTES = 1024**2
_SIGNAL_CHECK_S = 1.0


@contextmanager
def spooled(
    stdin: BinaryIO | None = None, limit_bytes: int = MAX_SPOOLED_BYTES
) -> Iterator[BinaryIO]:
    """Copy a stream to an unnamed temporary file, which is open within the block.

    Args and errors: see `spool`.
    """
    try:
        file = tempfile.TemporaryFile(prefix="dycoke-")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(error) from error
    with file:
        spool(file, stdin, limit_bytes)
        yield file


def spool(
    file: BinaryIO, stdin: BinaryIO | None = None, limit_bytes: int = MAX_SPOOLED_BYTES
) -> None:
    """Copy a stream to a file.

    Args:
        stdin: an open binary stream; None for stdin of this process.
    """
    for chunk in _chunks(standard_input(stdin), limit_bytes):
        try:
            file.write(chunk)
            file.flush()  # a full disk is noticed here, and not when the file is closed
        except OSError as error:
            raise _unwritable(error) from error


def standard_input(stdin: BinaryIO | None = None) -> BinaryIO:
    """Stdin of this process, or a stream in its place; refused if it is closed or a terminal."""
    if stdin is None:
        if sys.stdin is None:
            raise UsageError("stdin is closed; name a video file, or pipe one in")
        stdin = sys.stdin.buffer
    if stdin.isatty():
        raise UsageError("- reads the video from stdin, and that is a terminal: dycoke … - < FILE")
    return stdin


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"{STDIN_NAME} can't be kept in a temporary file ({error.strerror}): "
        "make room, or set TMPDIR to another folder"
    )


def _chunks(stdin: BinaryIO, limit_bytes: int) -> Iterator[bytes]:
    copied = 0
    while chunk := _read(stdin):
        copied += len(chunk)
        if copied > limit_bytes:
            raise VideoError(
                f"{STDIN_NAME} is larger than {limit_bytes / 1024**3:g} GiB: save it to a file and "
                "name that"
            )
        yield chunk
    if copied == 0:
        raise VideoError(f"{STDIN_NAME} is empty: did the command before the pipe fail?")


def _read(stdin: BinaryIO) -> bytes:
    try:
        _wait(stdin)
        return stdin.read1(_CHUNK_BYTES)  # type: ignore[attr-defined]
    except OSError as error:
        raise VideoError(f"{STDIN_NAME} can't be read ({error.strerror}): name a file") from error


def _wait(stdin: BinaryIO) -> None:
    """Wait until a stream has data or ends, so that a signal is handled within a second.

    A signal that arrives after Python's last check and before `read` has begun doesn't interrupt
    it: the command would end only when the pipe's other end writes or closes.
    """
    if os.name == "posix":  # Windows can wait for sockets alone
        with suppress(io.UnsupportedOperation):  # a stream without a file descriptor never blocks
            while not select.select([stdin], [], [], _SIGNAL_CHECK_S)[0]:
                pass

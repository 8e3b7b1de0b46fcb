"""Opens the video that was named, or what comes from stdin.

That is kept in a temporary file, for most containers can't be read from a pipe.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from dycoke_cli.errors import OutputError, UsageError, VideoError

if TYPE_CHECKING:
    from dycoke_cli.video.decode import Reader
    from dycoke_cli.video.sampling import Sampling
    from dycoke_cli.video.subtitles import SubtitleSource

STDIN = "-"
"""In place of a path."""
STDIN_NAME = "the video on stdin"
MAX_SPOOLED_BYTES = 8 * 1024**3
_CHUNK_BYTES = 1024**2


@contextmanager
def open_given(
    video: str, sampling: Sampling, subtitles: SubtitleSource | None = None
) -> Iterator[Reader]:
    """Open a video and find the frames that `sampling` asks for.

    Args:
        video: a path, or STDIN.
        sampling: which frames.
        subtitles: that come with them, or None.

    Raises:
        UsageError: the video should come from stdin, and nothing can; or the sampling doesn't fit.
        VideoError: it can't be read.
    """
    from dycoke_cli.video.decode import open_clip

    if video != STDIN:
        with open_clip(video, sampling, subtitles=subtitles) as reader:
            yield reader
        return
    if sys.stdin is None:
        raise UsageError("stdin is closed; name a video file, or pipe one in")
    with (
        spool(sys.stdin.buffer) as path,
        open_clip(path, sampling, shown_as=STDIN_NAME, subtitles=subtitles) as reader,
    ):
        yield reader


@contextmanager
def spool(stdin: BinaryIO, limit_bytes: int = MAX_SPOOLED_BYTES) -> Iterator[str]:
    """Copy a stream into a temporary file, give its path, and remove it afterwards.

    Pass `shown_as=STDIN_NAME` to `probe` and `read`, so that errors don't speak of that file.

    Args:
        stdin: an open binary stream.
        limit_bytes: the most that is copied.

    Raises:
        UsageError: the stream is a terminal.
        VideoError: there is nothing on it, or more than the limit.
        OutputError: the temporary file can't be written.
    """
    if stdin.isatty():
        raise UsageError("- reads the video from stdin, and that is a terminal: dycoke … - < FILE")
    path = None
    try:
        with tempfile.NamedTemporaryFile(prefix="dycoke-", delete=False) as file:
            path = file.name
            for chunk in _chunks(stdin, limit_bytes):
                file.write(chunk)
    except OSError as error:
        _remove(path)
        raise OutputError(
            f"{STDIN_NAME} can't be kept in a temporary file ({error.strerror}): "
            "make room, or set TMPDIR to another folder"
        ) from error
    except BaseException:
        _remove(path)
        raise
    try:
        yield path
    finally:
        _remove(path)


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
        return stdin.read(_CHUNK_BYTES)
    except OSError as error:
        raise VideoError(f"{STDIN_NAME} can't be read ({error.strerror}): name a file") from error


def _remove(path: str | None) -> None:
    if path is not None:
        with suppress(FileNotFoundError):
            os.unlink(path)

"""Files that are read: only regular ones, without waiting, and no more bytes than expected.

A link to /dev/zero never ends, and opening a pipe waits for its other end. The `strerror` of
an error says why.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

Path = str | os.PathLike[str]

_MOST_BYTES = 2**30  # several times the largest published annotations
_LONGEST_LINE = 2**28


def check_regular(status: os.stat_result) -> None:
    """Check that a file is regular: no folder, device, pipe or socket."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")


def open_file(
    path: Path,
    most_bytes: int | None = None,
    check: Callable[[os.stat_result], None] = check_regular,  # may raise other errors
) -> io.FileIO:
    """Open a regular file, or what a link leads to; the caller closes it."""
    check(os.stat(path))  # before opening, because opening a device may have side effects
    file = open(path, "rb", buffering=0, opener=_at_once)  # noqa: SIM115 (the caller closes it)
    try:
        check(status := os.fstat(file.fileno()))  # again: it may have been replaced meanwhile
        _check_size(status.st_size, most_bytes)
    except BaseException:
        file.close()
        raise
    return file


def first_bytes(path: Path, count: int) -> bytes:
    """Read the first bytes of a file; none if it can't be read."""
    with suppress(OSError), open_file(path) as file:
        return file.read(count)
    return b""


def read_file(path: Path, most_bytes: int = _MOST_BYTES) -> bytes:
    """Read a file as a whole."""
    with open_file(path, most_bytes) as file:
        pieces, size = [], 0
        while piece := file.read(2**20):  # a file may grow, and those in /proc have no size
            pieces.append(piece)
            _check_size(size := size + len(piece), most_bytes)
    return b"".join(pieces)


def read_text(path: Path, most_bytes: int = _MOST_BYTES) -> str:
    """Read a file in UTF-8, without the byte order mark of spreadsheets."""
    try:
        return read_file(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, "Not UTF-8 text") from error


def read_lines(path: Path) -> Iterator[bytes]:
    """Read the lines of a file of any size, one after the other, with their ends."""
    with io.BufferedReader(open_file(path)) as file:
        while line := file.readline(_LONGEST_LINE + 1):
            _check_size(len(line), _LONGEST_LINE)
            yield line


def _check_size(size: int, most_bytes: int | None) -> None:
    if most_bytes is not None and size > most_bytes:
        raise OSError(errno.EFBIG, f"Larger than {most_bytes / 2**20:g} MiB")


def _at_once(path: str, flags: int) -> int:  # Windows has no such flag, and no such pipes
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


_LFS_HEAD = b"version https://git-lfs"
LFS_POINTER = "is only a Git LFS pointer: fetch the file itself with `git lfs pull`"
"""Predicate of an error message, after the name of the file: a small text in place of a large file
of a repository."""


def starts_lfs_pointer(content: bytes) -> bool:
    """Whether a file's first bytes are those of a Git LFS pointer."""
    return content.startswith(_LFS_HEAD)


def is_lfs_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file is a pointer; False if it can't be read."""
    return starts_lfs_pointer(first_bytes(path, len(_LFS_HEAD)))

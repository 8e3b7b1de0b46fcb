"""Files that are read, and text, JSON Lines and CSV in them.

Only regular ones are read, without waiting, and no more bytes than expected.

A link to /dev/zero never ends, and opening a pipe waits for its other end. The `strerror` of
an error says why.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dycoke_cli.errors import DycokeError, UsageError

Path = str | os.PathLike[str]
SEPARATORS = {",": "a comma", ";": "a semicolon"}
"""Separators of CSV, in words."""

_NOT_UTF8 = "that isn't UTF-8 text: save it as UTF-8, as `iconv -f WINDOWS-1252 -t UTF-8` does"
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
        return text_of(read_file(path, most_bytes))
    except LineError as error:
        raise OSError(errno.EILSEQ, "Not UTF-8 text") from error


class LineError(ValueError):
    """A line that can't be used; the text has its number, and follows the name of the file."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")


@contextmanager
def naming(name: str, hint: str = "", kind: type[DycokeError] = UsageError) -> Iterator[None]:
    """Raise errors of reading as errors that name the file, with a hint behind them."""
    try:
        yield
    except OSError as error:
        raise kind(f"{name} can't be read ({error.strerror}){hint}") from error
    except LineError as error:
        raise kind(f"{name}, {error}{hint}") from error


def text_of(content: bytes) -> str:
    """Text in UTF-8, without the byte order mark of spreadsheets; a `LineError` if it is none."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LineError(line, _NOT_UTF8) from error


def json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Values of JSON Lines, each with the number of its line; a `LineError` if one isn't JSON."""
    # Not splitlines, which also splits at separators that a JSON string may contain.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise LineError(number, f"that isn't JSON ({error})") from error
            except RecursionError as error:
                raise LineError(number, "that is nested too deeply") from error


def separator_of(text: str, names: Iterable[str]) -> str:
    """Separator of CSV: comma or semicolon, with which the header has more of some names."""
    header, known = text.lstrip("\r\n").partition("\n")[0], {*map(str.casefold, names)}
    cells = {each: header.casefold().split(each) for each in SEPARATORS}
    return max(SEPARATORS, key=lambda each: len({c.strip(' \r"') for c in cells[each]} & known))


def table_rows(text: str, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of CSV by the names of the columns, each with the number of its first line.

    The header comes first, each name by itself. Empty rows are left out.

    Raises:
        LineError: it isn't CSV, or a row has more values than there are columns.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not names and (twice := [one for one in cells if one and cells.count(one) > 1]):
                raise LineError(line, f"there are two columns {twice[0]!r}; leave one out")
            names = names or cells
            if any(cell.strip() for cell in cells[len(names) :]):
                raise LineError(
                    line,
                    f"{len(cells)} values under {len(names)} columns; put quotes around a "
                    f"value with {SEPARATORS[separator]}",
                )
            # Some programs leave out the empty cells at the end of a row.
            yield line, dict(zip(names, [*cells, *[""] * len(names)], strict=False))
    except csv.Error as error:
        raise LineError(reader.line_num, f"that isn't CSV ({error})") from error


def read_lines(path: Path) -> Iterator[bytes]:
    """Read the lines of a file of any size, one after the other, with their ends."""
    with io.BufferedReader(open_file(path)) as file:
        while line := file.readline(_LONGEST_LINE + 1):  # equivalent: all of more is refused
            _check_size(len(line), _LONGEST_LINE)
            yield line


def _check_size(size: int, most_bytes: int | None) -> None:
    if most_bytes is not None and size > most_bytes:
        raise OSError(errno.EFBIG, f"Larger than {most_bytes / 2**20:g} MiB")


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


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

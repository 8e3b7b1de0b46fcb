"""Append-only files of lines: results of a batch, answers of an evaluation, verdicts.

A file is locked by the run that writes to it. A line is written completely or not at all: a partial
line is removed at once after a full disk, and when the file is opened after a power failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, TypeVar

from filelock import FileLock, Timeout

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.input_file import open_file, read_file, read_lines
from dycoke_cli.storage.output_file import hidden_name, replace_content, short_name, unwritable


class Journal:
    """The lines of a file, read when it is created; `open_journal` opens it for appending.

    A subclass parses the lines, and chooses what happens to damaged ones.

    Attributes:
        path: the file.
        damaged: number of lines that are incomplete or can't be parsed.
    """

    # name of such a file (or line, if damaged lines aren't dropped), for errors
    what: ClassVar[str]
    begin: ClassVar[bytes]  # first bytes of each such file
    # whether damaged lines are dropped anywhere in the file. Else only the last line may be
    # damaged, by a crash; any other means that the file isn't ours.
    drops_damaged: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._damages: list[tuple[int, int]] = []
        self._size = 0
        self._file: int | None = None
        if path.exists():
            self._read()

    @property
    def damaged(self) -> int:
        """See the class."""
        return len(self._damages)

    def take(self, line: bytes) -> None:
        """Parse a line that is in the file."""
        raise NotImplementedError

    def open(self) -> None:
        """Open the file for appending, and drop its damaged lines. Only under its lock."""
        if self._damages:
            self._repair()
        # A descriptor without a buffer: what `write` returned from is with the operating system.
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._size = os.fstat(self._file).st_size

    def write(self, lines: bytes) -> None:
        """Write lines; after this returns, a crash of the process can't lose them."""
        assert self._file is not None
        left = lines
        try:
            while left:  # a nearly full disk takes a part
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise OutputError(
                f"{self.path} can't be written ({error.strerror}); free some space and run it "
                "again: it resumes from there"
            ) from error
        self._size += len(lines)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read(self) -> None:
        lines = read_lines(self.path)
        for number, line in enumerate(lines, 1):
            start, self._size = self._size, self._size + len(line)
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("half a line")
                self.take(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                if not (self.drops_damaged or (self._is_begun(line) and not next(lines, b""))):
                    raise OutputError(
                        f"{self.path}, line {number}: that isn't {self.what}; give another --out"
                    ) from None
                self._damages.append((start, self._size))

    def _is_begun(self, line: bytes) -> bool:
        """Whether a line could be the beginning of one of ours, cut off by a crash.

        After a power failure a file may end in zeros, whose length was stored and content wasn't.
        """
        return self.begin.startswith(line.rstrip(b"\0\n")[: len(self.begin)])

    def _repair(self) -> None:
        first = self._damages[0][0]
        if self._size - first == sum(end - start for start, end in self._damages):
            # All damaged lines are at the end. This works on a full disk, a copy wouldn't.
            os.truncate(self.path, first)
            return
        content = bytearray(b"".join(read_lines(self.path)))
        for start, end in reversed(self._damages):
            del content[start:end]
        replace_content(self.path, content)


J = TypeVar("J", bound=Journal)


@contextmanager
def open_journal(kind: type[J], path: Path) -> Iterator[J]:
    """Lock a journal and open it for appending; creates the file, and the lock its folder."""
    with locked(path):
        if kind.drops_damaged:
            check_own(path, kind.begin, kind.what)
        try:
            journal = kind(path)
            journal.open()
        except OSError as error:
            raise OutputError(unwritable(path, error)) from error
        with closing(journal):
            yield journal


@contextmanager
def locked(path: Path, flag: str = "--out") -> Iterator[None]:
    """Lock a file for the length of the block; the system releases the lock of a killed run.

    The lock is another file in the same folder, which is removed at the end of the block. The flag
    is the one that chooses another file.
    """
    path_of_lock = path.with_name(f"{hidden_name(path.name)}.lock")
    try:
        _check_lock(path_of_lock, flag)
        lock = FileLock(path_of_lock).acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"another run is writing to {path}; wait for it, or give another {flag}"
        ) from error
    except OSError as error:
        raise OutputError(unwritable(path, error, flag)) from error
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows can't delete an open file, and FileLock does so later
                path_of_lock.unlink()


def check_own(path: Path, begin: bytes, what: str) -> None:
    """Refuse a file that another program wrote, before anything is written to it.

    Args:
        begin: its expected first bytes. A crash may have cut them off or left zeros.
    """
    try:
        if not path.exists():
            return
        if path.is_file():
            with open_file(path) as file:
                if begin.startswith(file.read(len(begin)).rstrip(b"\0")):
                    return
    except OSError as error:
        raise OutputError(
            f"{short_name(path)} can't be read ({error.strerror}); give another --out"
        ) from error
    raise OutputError(_foreign(path, what))


def _check_lock(lock: Path, flag: str) -> None:
    """Refuse a file that isn't a lock: some versions of FileLock empty the file that they find."""
    if not lock.exists():
        return
    # On a system without file locks, FileLock stores the number of the locking process.
    if not lock.is_file() or not (read_file(lock).split() or [b"0"])[0].isdigit():
        raise OutputError(_foreign(lock, "a lock of dycoke", flag))


def _foreign(path: Path, what: str, flag: str = "--out") -> str:
    return f"{path} isn't {what}, and stays as it is; give another {flag}"

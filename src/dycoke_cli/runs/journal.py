"""Files of lines that only grow: the results of a batch, the answers of an evaluation, verdicts.

One run at a time writes to a file, and to none but its own. Each line is written at once and whole,
or not at all: what a full disk left half written is cut off at once, what a power cut left half
written is cut off when the file is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, TypeVar

from filelock import FileLock, Timeout

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.output_file import replace_content, short_name, unwritable


class Journal:
    """The lines of a file, as they were when it was read; `open_journal` opens it for more.

    What is a line of its own, a subclass says, and what becomes of damaged ones.

    Attributes:
        path: the file.
        damaged: how many lines weren't whole, or weren't lines of such a file.
        what: such a file, or (where damaged lines aren't dropped) such a line is.
        begin: what each such file begins with.
        drops_damaged: whether damaged lines are dropped wherever they are. Else only the last line
            may be one, which a crash left half written: all others are taken for somebody else's.
    """

    what: ClassVar[str]
    begin: ClassVar[bytes]
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
        """Take in a line that is in the file.

        Raises:
            ValueError, KeyError, TypeError, AttributeError, RecursionError: it is none, or no
                longer whole.
        """
        raise NotImplementedError

    def open(self) -> None:
        """Open the file for more lines, without its damaged ones. Only under its lock.

        Raises:
            OSError: it can't be written.
        """
        if self._damages:
            self._repair()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)  # Windows' own
        self._file = os.open(self.path, flags, 0o666)
        self._size = os.fstat(self._file).st_size

    def write(self, lines: bytes) -> None:
        """Write lines; when this returns, a crash of the process can't take them back.

        Raises:
            OutputError: they can't be written; the file is as it was.
        """
        assert self._file is not None
        left = lines
        try:
            while left:
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
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                start, self._size = self._size, self._size + len(line)
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError("half a line")
                    self.take(line)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    if not (self.drops_damaged or (self._is_begun(line) and not file.read(1))):
                        raise OutputError(
                            f"{self.path}, line {number}: that isn't {self.what}; give another "
                            "--out"
                        ) from None
                    self._damages.append((start, self._size))

    def _is_begun(self, line: bytes) -> bool:
        """Whether a line of its own could begin like this; zeros are what a disk didn't get to."""
        return self.begin.startswith(line.rstrip(b"\0\n")[: len(self.begin)])

    def _repair(self) -> None:
        first = self._damages[0][0]
        if self._size - first == sum(end - start for start, end in self._damages):
            os.truncate(self.path, first)  # for which a full disk has room
            return
        content = bytearray(self.path.read_bytes())
        for start, end in reversed(self._damages):
            del content[start:end]
        replace_content(self.path, content)


J = TypeVar("J", bound=Journal)


@contextmanager
def open_journal(kind: type[J], path: Path) -> Iterator[J]:
    """Open a journal for more lines, and lock it; file and folder are made where they aren't there.

    Raises:
        OutputError: another run is writing to it, it is somebody else's, or it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(unwritable(path.parent, error)) from error
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
def locked(path: Path) -> Iterator[None]:
    """Within the block, no other run writes to a file; the system frees a killed run's lock.

    The lock is a file beside it, which goes when the block ends.

    Raises:
        OutputError: another run is writing to it, or nothing can be written there.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        _check_lock(lock)
        held = FileLock(lock).acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"another run is writing to {path}; wait for it, or give another --out"
        ) from error
    except OSError as error:
        raise OutputError(unwritable(path, error)) from error
    with held:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows deletes it by itself, once nobody has it open
                lock.unlink()


def check_own(path: Path, begin: bytes, what: str) -> None:
    """Refuse a file that somebody else wrote, before anything is written to it.

    Args:
        path: of the file, which needn't be there.
        begin: what it begins with, as far as a crash left it; zeros are what a disk didn't get to.
        what: it should be, for the error.

    Raises:
        OutputError: it begins otherwise, or can't be read.
    """
    try:
        if not path.exists():
            return
        if path.is_file():
            with path.open("rb") as file:
                if begin.startswith(file.read(len(begin)).rstrip(b"\0")):
                    return
    except OSError as error:
        raise OutputError(
            f"{short_name(path)} can't be read ({error.strerror}); give another --out"
        ) from error
    raise OutputError(_foreign(path, what))


def _check_lock(lock: Path) -> None:
    """Refuse what is no lock: some versions of FileLock empty the file that they find."""
    if not lock.exists():
        return
    # Where a system has no locks, the file has the number of the process that holds it.
    if not lock.is_file() or not (lock.read_bytes().split() or [b"0"])[0].isdigit():
        raise OutputError(_foreign(lock, "a lock of dycoke"))


def _foreign(path: Path, what: str) -> str:
    return f"{path} isn't {what}, and stays as it is; give another --out"

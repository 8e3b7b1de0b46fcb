"""The results: one JSON object per line, in a file that also says what is done, or on stdout.

Each line is written at once and whole. What a power cut left half written is cut off when the file
is opened; what a full disk left half written is cut off at once.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from dycoke_cli.errors import OutputError
from dycoke_cli.result import SCHEMA
from dycoke_cli.runs.outcome import Outcome, reason
from dycoke_cli.unicode import to_json

_BEGIN = f'{{"schema": "{SCHEMA}"'.encode()


class Results(Protocol):
    """Where outcomes go."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why those questions failed whose state is "failed", by key."""

    def state(self, key: str) -> str | None:
        """ "answered", "failed", or None where there is no line."""

    def add(self, outcome: Outcome) -> None:
        """Write a line; when this returns, a crash of the process can't take it back."""


class ResultsFile:
    """An open file of results. Made by `open_results`; nobody else writes to it meanwhile.

    Attributes:
        path: the file.
        reasons: why questions failed, by key.
        torn: whether its last line was cut off because it wasn't whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = False
        self._states: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        # Some keys have two lines after a retry; the first of each goes when the file is closed.
        self._replaced = False
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)  # Windows' own
        self._file = os.open(path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise OutputError(_no_file(path))
            self._size = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def state(self, key: str) -> str | None:
        """ "answered", "failed", or None where there is no line."""
        return self._states.get(key)

    def add(self, outcome: Outcome) -> None:
        """Write a line; when this returns, a crash of the process can't take it back.

        Raises:
            OutputError: it can't be written; the file is as it was.
        """
        content = (to_json(outcome.line) + "\n").encode("ascii")
        try:
            _write(self._file, content)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise OutputError(full(self.path, error)) from error
        self._size += len(content)
        self._take(outcome.line)

    def close(self) -> None:
        """Drop the lines that later ones replace, and close the file."""
        os.close(self._file)  # first, for Windows puts nothing in place of an open file
        try:
            if self._replaced:
                _keep_last_lines(self.path)
        except OSError as error:
            raise OutputError(
                f"{self.path} has failures that were answered since, and can't be written without "
                f"them ({error.strerror})"
            ) from error

    def _read(self) -> int:
        """Take in the file; return its size without a torn last line."""
        size = 0
        with open(self._file, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                known = _understood(line) if line.endswith(b"\n") else None
                if known is not None:
                    size += len(line)
                    self._take(known)
                    continue
                # What is somebody else's stays as it is.
                if file.read(1) or not _begun(line):
                    raise OutputError(
                        f"{self.path}, line {number}: that isn't a line of results of dycoke "
                        "batch; give another --out"
                    )
                self.torn = True
        if self.torn:
            os.ftruncate(self._file, size)
        return size

    def _take(self, line: dict[str, Any]) -> None:
        key = line["key"]
        self._replaced = self._replaced or key in self._states
        self._states[key] = "failed" if "error" in line else "answered"
        if "error" in line:
            self.reasons[key] = reason(line)


@contextmanager
def open_results(path: Path) -> Iterator[ResultsFile]:
    """Open a file of results, which is made where it isn't there, and lock it.

    Raises:
        OutputError: another run is writing to it, it is something else, or it can't be written.
    """
    if path.is_dir():
        raise OutputError(f"--out {path} is a folder; give a file")
    if path.exists() and not path.is_file():
        raise OutputError(_no_file(path))
    if not path.parent.is_dir():
        raise OutputError(f"--out {path}: there is no folder {path.parent}; make it first")
    with locked(path):
        try:
            results = ResultsFile(path)
        except OSError as error:
            raise OutputError(unwritable(path, error)) from error
        try:
            yield results
        finally:
            results.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within the block, no other run writes to a file; the system frees a killed run's lock.

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
        yield


def replace_content(path: Path, content: bytes) -> None:
    """Put a file with this content in place of `path`, at once.

    Raises:
        OSError: it can't be written; `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.touch(exist_ok=False)  # never over somebody else's
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink()
        raise


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
        raise OutputError(f"{path} can't be read ({error.strerror}); give another --out") from error
    raise OutputError(_foreign(path, what))


def unwritable(path: Path, error: OSError) -> str:
    """The sentence about a file that can't be written."""
    return f"{path} can't be written ({error.strerror}); give another --out"


def full(path: Path, error: OSError) -> str:
    """The sentence about a file to which nothing more could be added."""
    return (
        f"{path} can't be written ({error.strerror}); free some space and run it again: it resumes "
        "from there"
    )


def _check_lock(lock: Path) -> None:
    """Refuse what is no lock: some versions of FileLock empty the file that they find."""
    if not lock.exists():
        return
    # Where a system has no locks, the file has the number of the process that holds it.
    if not lock.is_file() or not (lock.read_bytes().split() or [b"0"])[0].isdigit():
        raise OutputError(_foreign(lock, "a lock of dycoke"))


def _foreign(path: Path, what: str) -> str:
    return f"{path} isn't {what}, and stays as it is; give another --out"


def _no_file(path: Path) -> str:
    return f"{path} isn't a file; leave out --out, and the lines go to stdout"


def _understood(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        return None
    return content if isinstance(content.get("key"), str) else None


def _begun(line: bytes) -> bool:
    """Whether a line of results could begin like this; zeros are what a disk didn't get to."""
    line = line.rstrip(b"\0\n")[: len(_BEGIN)]
    return _BEGIN.startswith(line)


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _keep_last_lines(path: Path) -> None:
    """Put a file in place of this one that has the last line of each key."""
    last: dict[str, bytes] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        known = _understood(line)
        assert known is not None
        last.pop(known["key"], None)
        last[known["key"]] = line
    replace_content(path, b"".join(last.values()))

"""Temporary files and folders of which a killed process leaves none for long.

Each is locked while it is used, and the system releases the lock of a process that ends. What is
found unlocked was left by a killed process, and is removed by the next one that makes such a file
or folder. Windows and file systems without locks keep what is left.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dycoke_cli.storage.private_file import is_of_another_user

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FILE = re.compile(r"\.(.+)\.[0-9a-f]{12}\.part", re.DOTALL)
_FOLDER = re.compile(r"dycoke-()[0-9a-f]{12}")


@contextmanager
def temporary_folder(place: Path | None = None) -> Iterator[Path]:
    """A new folder, closed to other users, for the length of the block.

    Args:
        place: its parent; None for the usual folder of temporary files.
    """
    parent = place or Path(tempfile.gettempdir())
    _remove(parent, _FOLDER, None)

    def make() -> Path:
        folder = parent / f"dycoke-{secrets.token_hex(6)}"
        folder.mkdir(0o700)
        return folder

    with _locked(make) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_file(beside: Path, mode: int) -> Iterator[Path]:
    """A new, empty file in the folder of another one, for the length of the block."""
    _remove(beside.parent, _FILE, beside.name)

    def make() -> Path:
        file = beside.with_name(f".{beside.name}.{secrets.token_hex(6)}.part")
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        return file

    with _locked(make) as file:
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)


def remove_left(parent: Path) -> None:
    """Remove all temporary files and folders that killed processes have left in a folder."""
    _remove(parent, _FILE, None)
    _remove(parent, _FOLDER, None)


@contextmanager
def _locked(make: Callable[[], Path]) -> Iterator[Path]:
    """Make a file or folder, and lock it for the length of the block."""
    while True:
        path = make()
        descriptor = None
        with suppress(FileNotFoundError):
            descriptor = _lock(path, wait=True)
        # Between the two steps another process may have found it unlocked, and removed it.
        if path.exists():
            break
        _close(descriptor)
    try:
        yield path
    finally:
        _close(descriptor)


def _remove(folder: Path, names: re.Pattern[str], name: str | None) -> None:
    with suppress(OSError):  # the folder can't be read
        # By names alone: a folder of thousands of files is searched each time that one is written.
        for entry in os.scandir(folder):
            found = names.fullmatch(entry.name)
            if found and name in (None, found[1]):
                with suppress(OSError):  # another process removes it
                    _remove_unlocked(Path(entry))


def _remove_unlocked(path: Path) -> None:
    if (descriptor := _lock(path, wait=False)) is None:
        return
    try:
        if is_of_another_user(os.fstat(descriptor)):
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        _close(descriptor)


def _lock(path: Path, *, wait: bool) -> int | None:
    """Lock a file or folder.

    Returns:
        A descriptor that holds the lock until it is closed; None where another process holds it, or
        there are no locks.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)

"""Files that this user alone may have written: no link, of no other user, writable for no other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait for its other end


class NotOwnFileError(OSError):
    """A file that another user may have written, or that stands for another file."""


def is_of_another_user(status: os.stat_result) -> bool:
    """Whether another user owns a file or folder; False on Windows, which has no owner ids."""
    return hasattr(os, "geteuid") and status.st_uid != os.geteuid()


def read_own(path: Path, most_bytes: int = 2**24) -> str:
    """The text of a file, where this user alone may have written it."""
    with open(_opened(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise OSError(f"{path} is larger than {most_bytes} bytes")
        return file.read(most_bytes).decode("utf-8")


def open_own(path: Path) -> int:
    """Open a file for appending; a new one has mode 0600."""
    return _opened(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)


def check_own(path: Path) -> None:
    """Check that this user alone may have written a file."""
    os.close(_opened(path, os.O_RDONLY))


def _opened(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | _NO_LINK | _NO_WAIT, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise NotOwnFileError(f"{path} is a link") from error
        raise
    status = os.fstat(descriptor)
    # A second name of one of the user's other files is a link as well.
    own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and not is_of_another_user(status)
    if not own or (os.name == "posix" and status.st_mode & 0o022):
        os.close(descriptor)
        raise NotOwnFileError(f"{path} isn't yours alone")
    return descriptor

"""The unix socket between commands and the running server of one user: path, owner, listener.

Its folder is closed to all other users, and each end checks the owner of the other.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import make_folder
from dycoke_cli.storage.output_file import is_of_another_user

ENVIRONMENT = "DYCOKE_RUNTIME"
"""Environment variable with the folder of the socket, in place of the default."""
_CONNECT_TIMEOUT_S = 3.0  # a server that doesn't even respond within that time is stuck


def runtime_folder() -> Path:
    """Folder of the socket: in the user's runtime folder, or else among temporary files."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    users = os.environ.get("XDG_RUNTIME_DIR")
    if users:
        return Path(users) / "dycoke"
    return Path(tempfile.gettempdir()) / f"dycoke-{os.geteuid()}"


def socket_path() -> Path:
    """Path of the socket, if a server is running."""
    return runtime_folder() / "serve.sock"


def socket_identity() -> tuple[int, int] | None:
    """Identity of the existing socket, different for each server; None if there is none."""
    try:
        status = socket_path().lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns  # inode numbers are reused


def is_private(folder: Path) -> bool:
    """Whether a folder belongs to this user, is closed to all others, and isn't a link."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(status.st_mode) and not stat.S_IMODE(status.st_mode) & 0o077
    return private and not is_of_another_user(status)


def is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's, as far as the system can tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder is closed to all others
    size = struct.calcsize("3i")
    about = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return bool(struct.unpack("3i", about)[1] == os.geteuid())


def connect() -> socket.socket | None:
    """A connection to the running server; None if there is none that can be trusted."""
    path = socket_path()
    if not is_private(path.parent):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        # Questions and videos' paths are private: they go to no process of another user.
        status = path.lstat()
        if not stat.S_ISSOCK(status.st_mode) or is_of_another_user(status):
            raise OSError("another user's")
        connection.settimeout(_CONNECT_TIMEOUT_S)
        connection.connect(os.fspath(path))
        if not is_own(connection):
            raise OSError("another user's")
    except OSError:
        connection.close()
        return None
    return connection


class LocalListener:
    """Listens at the user's socket, unless another server of theirs does.

    Args:
        warn: called with a sentence where the socket can't be created.

    Attributes:
        listening: the socket; None if another server has it, or if it can't be created.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        try:
            self.listening = _listen()
        except OutputError as error:
            warn(f"{error}; `dycoke ask` and `batch` won't find this server by themselves")
            self.listening = None
        self._identity = None if self.listening is None else socket_identity()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        if self.listening is not None:
            self.listening.close()
        # Shut at the beginning of the end, so that the next server may have its own there by now.
        if self._identity is not None and socket_identity() == self._identity:
            socket_path().unlink(missing_ok=True)


def _listen() -> socket.socket | None:
    path = socket_path()
    try:
        make_folder(path.parent)
        if not is_private(path.parent):
            raise OutputError(f"{path.parent} isn't yours alone; remove it, or set XDG_RUNTIME_DIR")
        if (other := connect()) is not None:
            other.close()
            return None
        # Nobody answers there: a server that was killed has left it.
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.fspath(path))
        path.chmod(0o600)
        listening.listen()
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{path} can't be listened at ({reason}); set {ENVIRONMENT} to a folder with a short "
            "path"
        ) from error
    return listening

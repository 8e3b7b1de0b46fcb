"""The unix socket between commands and the running server of one user: its path and its owner.

It lies in a folder that nobody else can enter. Both ends check whose the other end is.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import tempfile
from pathlib import Path

from dycoke_cli.storage.cache_folder import is_of_another_user

ENVIRONMENT = "DYCOKE_RUNTIME"
"""Names the folder of the socket in place of the one among the user's runtime files."""
_STARTS_S = 3.0  # a server that doesn't even reply in that time is stuck


def runtime_folder() -> Path:
    """The folder of the socket: among the user's runtime files, or else among temporary ones."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    users = os.environ.get("XDG_RUNTIME_DIR")
    if users:
        return Path(users) / "dycoke"
    uid = os.geteuid() if hasattr(os, "geteuid") else "user"
    return Path(tempfile.gettempdir()) / f"dycoke-{uid}"


def socket_path() -> Path:
    """Where the socket is, if a server runs."""
    return runtime_folder() / "serve.sock"


def socket_identity() -> tuple[int, int] | None:
    """What tells the socket that is there from that of another server; None where there is none."""
    try:
        found = socket_path().lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns  # numbers of inodes are used again


def is_private(folder: Path) -> bool:
    """Whether a folder is this user's own, closed to all others, and no link to another."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    return private and not is_of_another_user(found)


def is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's, as far as the system says."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder is closed to all others
    size = struct.calcsize("3i")
    about = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return bool(struct.unpack("3i", about)[1] == os.geteuid())


def connect() -> socket.socket | None:
    """A connection to the running server; None where there is none that can be trusted."""
    path = socket_path()
    if not hasattr(socket, "AF_UNIX") or not is_private(path.parent):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode) or is_of_another_user(found):
            raise OSError("another user's")
        connection.settimeout(_STARTS_S)
        connection.connect(os.fspath(path))
        if not is_own(connection):
            raise OSError("another user's")
    except OSError:
        connection.close()
        return None
    return connection

"""The server's listening unix socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from dycoke_cli.errors import OutputError
from dycoke_cli.server.local.unix_socket import (
    ENVIRONMENT,
    connect,
    is_own,
    is_private,
    socket_identity,
    socket_path,
)
from dycoke_cli.storage.cache_folder import make_folder


class LocalListener:
    """Listens at the user's socket, unless another server of theirs does.

    Args:
        warn: called with a sentence where the socket can't be created; None raises the error.

    Attributes:
        sockets: the socket; empty if another server has it, if it can't be created, or if the
            system has no unix sockets.
    """

    def __init__(self, warn: Callable[[str], None] | None = None) -> None:
        try:
            listening = _listen()
        except OutputError as error:
            if warn is None:
                raise
            warn(f"{error}; `dycoke ask` and `batch` won't find this server by themselves")
            listening = None
        self.sockets: list[socket.socket] = [] if listening is None else [listening]
        self._identity = None if listening is None else socket_identity()

    def close(self) -> None:
        """Stop listening and remove the socket, for which `dycoke serve stop` waits."""
        for listening in self.sockets:
            listening.close()
        # uvicorn closed the socket earlier, so that the next server may have its own there by now.
        if self._identity is not None and socket_identity() == self._identity:
            socket_path().unlink(missing_ok=True)


class _OwnSocket(socket.socket):
    """A listening socket that accepts no connection of another user."""

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().accept()
        if not is_own(connection):
            connection.close()
            raise ConnectionAbortedError("another user's")
        return connection, address


def _listen() -> socket.socket | None:
    if not hasattr(socket, "AF_UNIX"):
        return None
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
        listening = _OwnSocket(socket.AF_UNIX)
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

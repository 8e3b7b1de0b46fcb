"""The server's listening unix socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from dycoke_cli.errors import OutputError
from dycoke_cli.server.local.unix_socket import (
    ENVIRONMENT,
    connect,
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
        listening: the socket; None if another server has it, if it can't be created, or if the
            system has no unix sockets.
    """

    def __init__(self, warn: Callable[[str], None] | None = None) -> None:
        try:
            self.listening = _listen()
        except OutputError as error:
            if warn is None:
                raise
            warn(f"{error}; `dycoke ask` and `batch` won't find this server by themselves")
            self.listening = None
        self._identity = None if self.listening is None else socket_identity()

    def close(self) -> None:
        """Stop listening and remove the socket, for which `dycoke serve stop` waits."""
        if self.listening is not None:
            self.listening.close()
        # Shut at the beginning of the end, so that the next server may have its own there by now.
        if self._identity is not None and socket_identity() == self._identity:
            socket_path().unlink(missing_ok=True)


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

"""Whose the socket is: its folder, its mode, and the user at the other end."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from pathlib import Path
from warnings import warn

import pytest

from dycoke_cli.server.local import local_server, unix_socket
from dycoke_cli.server.local.unix_socket import LocalListener, connect
from tests.server.local.conftest import Served


def test_the_socket_is_closed_to_others(local: Served, folder: Path) -> None:
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(folder / "serve.sock").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o770])
def test_a_folder_that_others_can_enter_is_not_trusted(
    local: Served, folder: Path, mode: int
) -> None:
    folder.chmod(mode)
    assert connect() is None
    with pytest.warns(match="isn't yours alone"):
        assert LocalListener(warn).listening is None
    folder.chmod(0o700)


def test_a_folder_that_is_a_link_is_not_trusted(local: Served, folder: Path) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to(folder.with_name("real"))
    assert connect() is None


def test_a_folder_and_a_socket_of_another_user_are_not_trusted(
    local: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert connect() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the system doesn't say whose a process is")
def test_a_process_of_another_user_is_no_server(
    local: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(connect()) as connection:  # type: ignore[type-var]
        assert unix_socket.is_own(connection)
        with monkeypatch.context() as other:
            other.setattr(os, "geteuid", lambda: 12345)
            assert not unix_socket.is_own(connection)
    monkeypatch.setattr(unix_socket, "is_own", lambda connection: False)
    assert connect() is None


def test_the_server_hangs_up_on_another_user(
    local: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "is_own", lambda connection: False)
    for _ in range(2):  # and goes on listening
        with closing(connect()) as connection:  # type: ignore[type-var]
            assert connection.recv(1) == b""


@pytest.mark.parametrize("reason", ["mode", "length", "file"])
def test_where_no_socket_can_be_the_server_runs_without_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """A socket's path has 107 bytes at most; a folder may be another user's, or no folder."""
    if reason == "length":
        monkeypatch.setenv(unix_socket.ENVIRONMENT, f"{folder}/{'x' * 107}")
    elif reason == "file":
        folder.write_text("")
    else:
        folder.mkdir(mode=0o755)
    warnings: list[str] = []
    with closing(LocalListener(warnings.append)) as local:
        assert local.listening is None
    (warning,) = warnings
    assert "won't find this server" in warning


def test_what_is_left_of_a_server_that_was_killed(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "serve.sock"))
    assert connect() is None
    with closing(LocalListener(warn)) as again:
        assert again.listening
    assert not (folder / "serve.sock").exists()


def test_the_first_server_keeps_the_socket(local: Served, folder: Path) -> None:
    second = LocalListener(warn)
    assert second.listening is None
    second.close()
    with closing(connect()) as connection:  # type: ignore[type-var]
        assert connection is not None


def test_a_server_that_ends_leaves_the_socket_of_the_next(folder: Path) -> None:
    first = LocalListener(warn)
    assert first.listening
    first.listening.close()  # as the end of the server does
    with closing(LocalListener(warn)) as second:
        first.close()
        assert second.listening
        with closing(connect()) as connection:  # type: ignore[type-var]
            assert connection is not None

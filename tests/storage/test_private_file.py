"""Files in a folder where others may write: what they put there is neither read nor changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dycoke_cli.storage import cache_folder
from dycoke_cli.storage.output_file import open_own, read_own

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and links as POSIX has them")


def written(file: Path, mode: int) -> None:
    file.write_text("changed")
    file.chmod(mode)


PUT: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda file, theirs: file.symlink_to(theirs),
    "a second name": lambda file, theirs: file.hardlink_to(theirs),
    "writable for others": lambda file, theirs: written(file, 0o602),
    "writable for a group": lambda file, theirs: written(file, 0o620),
    "a pipe": lambda file, theirs: os.mkfifo(file),
}


@pytest.mark.parametrize("what", PUT)
def test_what_others_may_have_put_there(what: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    PUT[what](tmp_path / "file", theirs)
    for use in (read_own, open_own):
        with pytest.raises(OSError, match=r"Too many levels|isn't yours alone|No such device"):
            use(tmp_path / "file")
    assert theirs.read_text() == "kept"


def test_of_another_user(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "file"
    path.write_text("theirs")
    monkeypatch.setattr(cache_folder.os, "geteuid", lambda: path.stat().st_uid + 1)
    for use in (read_own, open_own):
        with pytest.raises(OSError, match="isn't yours alone"):
            use(path)
    assert path.read_text() == "theirs"


def test_an_own_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0)
    try:
        descriptor = open_own(path)
    finally:
        os.umask(before)
    os.write(descriptor, "kept ä".encode())
    os.close(descriptor)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_own(path) == "kept ä"
    path.chmod(0o755)  # which others may read and run
    assert read_own(path, 7) == "kept ä"
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_own(path, 3)
    with pytest.raises(FileNotFoundError):
        read_own(tmp_path / "none")


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "second").hardlink_to(tmp_path / "file")
    before = os.open(os.devnull, os.O_RDONLY)
    os.close(before)
    with pytest.raises(OSError, match="isn't yours alone"):
        read_own(tmp_path / "file")
    after = os.open(os.devnull, os.O_RDONLY)
    os.close(after)
    assert after == before  # the lowest number that is free

"""Where files go that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dycoke_cli.storage.cache_folder import CacheFiles, cache_folder, clear, files_of, kept


def test_the_folder_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DYCOKE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dycoke"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dycoke"
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_what_was_used_last_stays_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    files = CacheFiles(tmp_path, ".x", limit=6)
    for key in "abc":
        files.path(key).write_bytes(b"1234")
        os.utime(files.path(key), (2**33, 2**33))
    files.note_use(files.path("a"))
    files.trim()
    assert os.listdir(tmp_path) == ["a.x"]


@pytest.mark.parametrize("name", ["estimates", "chat_history"])
def test_what_is_kept_is_counted_and_cleared(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder of files, and a file alone; a link is removed, and what it leads to stays."""
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    assert (files_of(name), clear(name)) == ([], 0)
    place, elsewhere = kept(name), tmp_path / "elsewhere"
    files = [place / "a" / "one", place / "two"] if name == "estimates" else [place]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    assert [status.st_size for status in files_of(name)] == [5] * len(files)
    assert clear(name) == len(files)
    assert not place.exists()
    elsewhere.mkdir()
    (elsewhere / "mine").touch()
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(elsewhere)
    clear(name)
    assert not place.is_symlink()
    assert (elsewhere / "mine").exists()

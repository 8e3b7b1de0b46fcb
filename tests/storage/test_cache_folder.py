"""Where files go that can be made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.storage.cache_folder import cache_folder


def test_the_folder_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DYCOKE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dycoke"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dycoke"
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"

"""`dycoke cache`, and `--cache` in a process of its own."""

from __future__ import annotations

import json

import pytest

from tests.cli.harness import run_here as run


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))


def test_what_is_kept_is_counted_and_cleared(tmp_path) -> None:
    folder = tmp_path / "visual"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.safetensors").write_bytes(b"x" * 1500)
    told = json.loads(run("cache", "--json").out)
    assert told == {
        "schema": "dycoke.cache/1",
        "folder": str(folder),
        "videos": 2,
        "bytes": 3000,
        "limit_bytes": 10**10,
    }
    assert "2 encoded videos, 3 kB of 10 GB" in run("cache").out
    assert "2 encoded videos deleted" in run("cache", "clear").err
    assert "0 encoded videos" in run("cache").out


def test_a_limit_that_is_no_number_is_a_usage_error(monkeypatch) -> None:
    monkeypatch.setenv("DYCOKE_CACHE_GB", "-1")
    found = run("cache")
    assert found.code == 2
    assert "DYCOKE_CACHE_GB must be a number" in found.err

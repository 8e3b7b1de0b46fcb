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
    weights = tmp_path / "int8"
    for layer in ("model/processor/a", "model/processor/b", "model/other/a"):
        file = weights / f"{layer}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 700)
    told = json.loads(run("cache", "--json").out)
    assert told == {
        "schema": "dycoke.cache/1",
        "folder": str(folder),
        "videos": 2,
        "unfinished": 0,
        "bytes": 3000,
        "limit_bytes": 10**10,
        "int8_folder": str(weights),
        "int8_models": 1,
        "int8_bytes": 2100,
    }
    assert "2 encoded videos, 3 kB of 10 GB" in run("cache").out
    assert f"int8 weights of 1 model, 2.1 kB, in {weights}" in run("cache").out
    cleared = run("cache", "clear").err
    assert "2 encoded videos and the int8 weights of 1 model deleted" in cleared
    assert "0 encoded videos" in run("cache").out
    assert not [*weights.iterdir()]


def test_a_limit_that_is_no_number_is_a_usage_error(monkeypatch) -> None:
    monkeypatch.setenv("DYCOKE_CACHE_GB", "-1")
    found = run("cache")
    assert found.code == 2
    assert "DYCOKE_CACHE_GB must be a number" in found.err

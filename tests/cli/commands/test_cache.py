"""`dycoke cache`, and `--cache` in a process of its own."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import dycoke_cli
from tests.cli.harness import run_here as run

SOURCE = Path(dycoke_cli.__file__).parent


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))


def test_what_is_kept_is_counted_and_cleared(tmp_path) -> None:
    folder = tmp_path / "visual"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.safetensors").write_bytes(b"x" * 1500)
    told = json.loads(run("cache", "--json").out)
    kept = {one["name"]: one for one in told.pop("kept")}
    assert {name: one["files"] for name, one in kept.items() if one["files"]} == {"visual": 2}
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


def test_all_that_is_kept_is_listed_and_cleared_by_its_name(tmp_path) -> None:
    for name in ("shapes/a.mp4", "evaluation/samples/answers.jsonl", "chat_history"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 500)
        os.utime(tmp_path / name, (0, 1e9))
    shown = run("cache").out.splitlines()[1:]
    assert "shapes: rendered clips of bundled benchmarks, 1 file, 500 B, of 2001-09-09" in shown
    assert [line.partition(":")[0] for line in shown] == [
        "evaluation",
        "shapes",
        "chat_history",
    ]
    [one] = [one for one in run("cache", "--json").object["kept"] if one["name"] == "shapes"]
    assert (one["bytes"], one["changed"]) == (500, "2001-09-09T01:46:40+00:00")
    kept = "evaluation, shapes, chat_history kept: `dycoke cache clear --all`"
    assert run("cache", "clear").err == f"0 encoded videos deleted; {kept}\n"
    assert len(run("cache").out.splitlines()) == 4
    assert "2 files deleted" in run("cache", "clear", "shapes", "chat_history").err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation"]
    refused = run("cache", "clear", "shape")
    assert (refused.code, "did you mean shapes?" in refused.err) == (2, True)
    assert run("cache", "clear", "--all", "shapes").code == 2
    assert run("cache", "clear", "--all").err == "1 file deleted\n"


def test_nothing_is_kept_beside_the_registry() -> None:
    """The folder itself is for the registry, and for a server's comparison with a command's."""
    users = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"\bcache_folder\(\)", path.read_text(encoding="utf-8"))
    }
    compared = {"server/local/local_server.py", "server/local/wire.py"}
    tried = {"cli/commands/doctor.py"}  # whether it can be written
    assert users == {"storage/cache_folder.py", *compared, *tried}

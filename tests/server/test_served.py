"""`--server` and a real `dycoke serve` with the bundled model: what it counts is counted here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import run_here
from tests.server.real import serving


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_eval_counts_the_tokens_of_a_model_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cache", "runtime"):
        monkeypatch.setenv(f"DYCOKE_{name.upper()}", str(tmp_path / f"own {name}"))

    def rows(name: str, *flags: str) -> Any:
        command = ("eval", "shapes", "--limit", "2", "--methods", "none,evs", "--json", "--quiet")
        small = ("--frames", "4", "--max-tokens", "4", "--out", tmp_path / name)
        done = run_here(*command, *small, *flags)
        assert done.code == 0, done.err
        return done.object["rows"]

    with serving(tmp_path) as (address, _):
        there = rows("there", "--server", address)
    for own, served in zip(rows("here"), there, strict=True):
        same = ("spec", "questions", "failed", "kept_before_llm", "kept_in_decode")
        assert [served[key] for key in same] == [own[key] for key in same]

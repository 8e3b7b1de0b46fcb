"""A tokenizer is tried once in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.files import small_files as tokenizer_trial
from dycoke_cli.models.files.small_files import check_tokenizer
from dycoke_cli.storage import output_file as private_file

BUNDLED = BUNDLED_CHECKPOINT / "tokenizer.json"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """With an empty cache: how each process was started."""
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    seen = []
    run = subprocess.run

    def noted(*arguments: Any, **options: Any) -> Any:
        seen.append(options)
        return run(*arguments, **options)

    monkeypatch.setattr(tokenizer_trial.subprocess, "run", noted)
    return seen


def test_what_passed_is_not_tried_again(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    check_tokenizer("mine", BUNDLED)
    check_tokenizer("mine", BUNDLED)
    assert len(started) == 1
    assert "secret" not in started[0]["env"].values()
    monkeypatch.setattr(private_file, "is_of_another_user", lambda found: True)
    check_tokenizer("mine", BUNDLED)  # whoever may write there could say so of any
    assert len(started) == 2


def test_what_did_not_pass_is_tried_each_time(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_trial, "_START", "import os; os.abort()")
    for _ in range(2):
        with pytest.raises(ModelError, match=r"mine can't be loaded: its tokenizer.json crashes"):
            check_tokenizer("mine", BUNDLED)
    assert len(started) == 2
    monkeypatch.setattr(tokenizer_trial, "_START", "import time; time.sleep(60)")
    monkeypatch.setattr(tokenizer_trial, "_DEADLINE_S", 0.1)
    with pytest.raises(ModelError, match="takes more time or memory"):
        check_tokenizer("mine", BUNDLED)


def test_what_its_reader_refuses_is_left_to_that(
    started: list[dict[str, Any]], tmp_path: Path
) -> None:
    check_tokenizer("mine", tmp_path / "tokenizer.json")
    assert not started
    (tmp_path / "tokenizer.json").write_text("{")
    check_tokenizer("mine", tmp_path / "tokenizer.json")


def test_a_cache_that_cannot_be_written_costs_no_answer(
    started: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "cache").touch()
    check_tokenizer("mine", BUNDLED)
    assert started

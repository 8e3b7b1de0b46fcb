"""The tables of `shapes` come for any checkpoint; only the bundled one's go into the pages."""

from __future__ import annotations

import sys

import pytest

from benchmarks import shapes
from dycoke_cli.evaluation.lines import Evaluation


class Stop(Exception):
    pass


def asked_by(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Evaluation:
    """What the program would evaluate."""
    found: list[Evaluation] = []

    def evaluate(evaluation: Evaluation, _shown: object) -> None:
        found.append(evaluation)
        raise Stop

    monkeypatch.setattr(shapes, "evaluate", evaluate)
    monkeypatch.setattr(sys, "argv", ["shapes", *arguments])
    with pytest.raises(Stop):
        shapes.main()
    return found[0]


def test_the_model_is_the_bundled_one_or_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = asked_by(monkeypatch, "--quick")
    other = asked_by(monkeypatch, "--quick", "--model", "runs/control")
    assert bundled.request.model == "mini"
    assert other.request.model == "runs/control"
    assert other.specs == bundled.specs
    assert other.limit_videos == shapes.QUICK_VIDEOS
    # Answers of two models are never kept in one place.
    assert other.folder != bundled.folder


def test_tables_of_another_model_go_into_no_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["shapes", "--write", "--model", "runs/control"])
    with pytest.raises(SystemExit) as ended:
        shapes.main()
    assert ended.value.code == 2
    assert "--write is for the bundled model" in capsys.readouterr().err

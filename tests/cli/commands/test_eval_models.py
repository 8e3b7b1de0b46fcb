"""`dycoke eval report` of runs of several models, written by hand: every form tells them apart."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from tests.cli.harness import Outcome, run_here
from tests.documents import valid
from tests.evaluation.report.test_combine import NONE, OTHER, of_model, written


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Of the models m and n; n's first row has the answers of m's second."""
    return [
        written(tmp_path / "1"),
        written(
            tmp_path / "2",
            (of_model(NONE, "n"), of_model(OTHER, "n")),
            names={"none": "other", "other": "other"},
        ),
    ]


def report(*arguments: str | Path) -> Outcome:
    return run_here("eval", "report", *arguments)


def test_the_tables(runs: list[Path]) -> None:
    text = report(*runs)
    assert text.code == 0
    assert "models m, n\n" in text.out
    assert re.search(r"^# +Model +Method +Accuracy", text.out, re.MULTILINE)
    for line in (
        r"1 +m +none +75\.0 ± 45\.9 +– ",
        r"2 +m +other +50\.0 ± 91\.9 +-25\.0 ± 137\.8 ",
        r"3 +n +none +50\.0 ± 91\.9 +– ",
        r"4 +n +other +50\.0 ± 91\.9 +\+0\.0 ± 0\.0 +0 ",
        r"4 +n +25 % ",
    ):
        assert re.search(rf"^{line}", text.out, re.MULTILINE), line
    assert "the baseline (none of the same model)" in " ".join(text.out.split())
    assert "m: float32 on cpu, weights w; n: float32 on cpu" in " ".join(text.out.split())
    # Four answers that didn't change are no surprise.
    assert "changed none" not in text.err
    # One model has no column of its own.
    alone = report(runs[0])
    assert "Model" not in alone.out


def test_other_forms(runs: list[Path]) -> None:
    valid(report(*runs, "--json").object, "eval", "report")
    alone = valid(report(runs[0], "--json").object, "eval", "report")
    assert alone["model"] == alone["models"][0]
    lines = list(csv.DictReader(io.StringIO(report(*runs, "--csv").out)))
    assert [(line["model"], line["spec"]) for line in lines] == [
        ("m", "none"), ("m", "other"), ("n", "none"), ("n", "other"),
    ]  # fmt: skip
    assert list(lines[0])[:5] == ["benchmark", "edition", "split", "model", "method"]


def test_changes_of_each(runs: list[Path]) -> None:
    out = report(*runs, "--show-changed").out
    assert "\nother (m) changed 3 of 4 answers: 1 wrong→right, 2 right→wrong\n" in out
    assert "\nother (n) changed 0 of 4 answers: 0 wrong→right, 0 right→wrong\n" in out
    # Each under its own.
    assert out.index("q1 (video") < out.index("other (n)")
    assert "q1 (video" not in out[out.index("other (n)") :]

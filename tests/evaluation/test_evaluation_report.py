"""The report of a run that was written by hand, whose tables were computed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.compression.registry import Spec
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.evaluation_report import report_of
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction, Setup, open_answers
from dycoke_cli.evaluation.run_record import RunRecord, read_record, write_record

MODEL = {"name": "m", "revision": None, "weights": "w", "dtype": "float32", "device": "cpu"}
# Two questions about each of two videos.
ITEMS = tuple(
    Item(
        f"q{n}", f"v{n // 2}", f"What {n}?", "yes", "ab"[n % 2], "", (("Who?", "she"),), ("x", "y")
    )
    for n in range(4)
)
NONE, OTHER = (
    KeptRow(
        Spec(name, name, name, {}), {}, Setup("0", "own", "1", "test", MODEL, {"name": name}, 8)
    )
    for name in ("none", "other")
)
RIGHT = {"none": (True, False, True, True), "other": (True, True, False, False)}


def answer(row: KeptRow, number: int, said: str | None = None) -> Prediction:
    right = RIGHT[row.spec.name][number]
    text = said or ("yes" if right else f"no {row.spec.name}")
    kept = 100 if row.spec.is_baseline else 25
    return Prediction(f"q{number}", text, right, {}, 100, kept, kept, 3, 0.5, 10 * kept)


def written(
    folder: Path,
    rows: tuple[KeptRow, ...] = (NONE, OTHER),
    places: tuple[int, ...] = (0, 1, 2, 3),
    names: Mapping[str, str] | None = None,
    **values: object,
) -> Path:
    """A folder with a run; `names` says whose answers in `RIGHT` a row has, by spec."""
    folder.mkdir()
    items = tuple(ITEMS[place] for place in places)
    record = RunRecord(rows, items, 8, {}, "accuracy", False, **values)  # type: ignore[arg-type]
    write_record(folder, record)
    with open_answers(folder) as journal:
        for row in rows:
            name = row.spec.name if names is None else names[row.spec.text]
            by = replace(row, spec=replace(row.spec, name=name))
            for place in places:
                journal.add(row.setup, answer(by, place), "abc")
    return folder


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    failures = {NONE.setup.id: {"q0": answer(NONE, 0)}}
    record = RunRecord(
        (NONE, OTHER), ITEMS, None, {"sampling": {"fps": 2.0}}, "rouge_l_f1", True,
        "judge", "answer", failures, ("a warning",), "2026-11-22",
    )  # fmt: skip
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]
    assert read_record(tmp_path / "nowhere") is None
    path = tmp_path / "run.jsonl"
    path.write_text("".join(path.read_text().splitlines(True)[:-1]))
    with pytest.raises(UsageError, match=r"run\.jsonl is damaged"):
        read_record(tmp_path)


def test_tables_by_hand(tmp_path: Path) -> None:
    report = report_of(written(tmp_path / "1"))
    assert report.warnings == ()
    assert (report.benchmark, report.videos, report.frames, report.commits) == (
        "own", 2, 8, ("abc",),
    )  # fmt: skip
    none, other = report.rows
    # none: 1, 0 | 1, 1. Residuals from 3/4 by video: -1/2 and 1/2; of two videos 2 / (2 - 1).
    assert (none.questions, none.accuracy) == (4, 3 / 4)
    assert none.standard_error == pytest.approx(math.sqrt(2 * (1 / 4 + 1 / 4)) / 4)
    assert (none.difference, none.changed) == (None, None)
    # other: 1, 1 | 0, 0; against none 0, 1 | -1, -1: from the mean -1/4, 3/2 and -3/2.
    assert other.accuracy == 1 / 2
    assert other.difference == -1 / 4
    assert other.difference_error == pytest.approx(math.sqrt(2 * 2 * (3 / 2) ** 2) / 4)
    # Of two videos, by a table of t; and its distribution with one degree of freedom is Cauchy's.
    assert other.difference_plus_minus == pytest.approx(1.8373 * 3 / 4, abs=1e-4)
    assert other.difference_p == pytest.approx(1 - 2 * math.atan(1 / 3) / math.pi)
    assert (other.changed, other.fixed, other.broken) == (3, 1, 2)
    assert list(none.by_type) == ["a", "b"]
    assert [group.accuracy for group in none.by_type.values()] == [1, 1 / 2]
    assert [group.accuracy for group in other.by_type.values()] == [1 / 2, 1 / 2]
    assert (other.kept_before_llm, other.kept_in_pruned_layers, other.bytes) == (0.25, 0.25, 250)
    assert none.changes == ()
    assert [(one.item, one.outcome) for one in other.changes] == [
        ("q1", "fixed"), ("q2", "broken"), ("q3", "broken"),
    ]  # fmt: skip
    assert other.changes[0].question == "What 1?"


def test_warnings_of_answers_are_counted_by_question(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    noted = {0: ("v0 is damaged",), 1: ("v0 is damaged", "dark"), 2: tuple(map(str, range(5)))}
    with open_answers(folder) as journal:
        for row in (NONE, OTHER):
            for number, warnings in noted.items():
                journal.add(row.setup, replace(answer(row, number), warnings=warnings), "abc")
    assert report_of(folder).warnings == (
        "2 questions: v0 is damaged",
        *(f"1 question: {warning}" for warning in ("dark", "0", "1", "2")),
        "answers have 2 more warnings, in answers.jsonl",
    )

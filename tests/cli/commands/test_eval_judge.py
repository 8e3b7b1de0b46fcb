"""`dycoke eval --judge-model`: verdicts beside the answers, in the tables and in reports."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.evaluation import run_record
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.evaluation_report import grades_of, judge_of
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.scoring import judge
from dycoke_cli.evaluation.scoring.judge import ANSWER, KEY, Verdict, key_of
from dycoke_cli.evaluation.scoring.judge import Item as Judged
from tests.cli.harness import Outcome, run_here
from tests.documents import valid
from tests.evaluation import miniatures
from tests.evaluation.prepared import never
from tests.evaluation.scoring.judges import Endpoint, judging

SMALL = ("--frames", "2", "--device", "cpu", "--max-tokens", "6", "--methods", "none,dycoke")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with judging(monkeypatch) as made:
        yield made


pytestmark = pytest.mark.usefixtures("known_answers")


def evaluate(name: str, folder: Path, *flags: str) -> Outcome:
    data = folder / "data"
    if not data.exists():
        miniatures.make(name, data)
    given = (*SMALL, "--model", "mini", "--out", folder / "out")
    return run_here("eval", name, "--data", data, *given, *flags)


def test_verdicts_stand_beside_the_metric_that_needs_none(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    flags = ("--judge-url", endpoint.url, "--judge-model", "judge-1", "--json", "--quiet")
    outcome = evaluate("activitynetqa", tmp_path, *flags)
    assert outcome.code == 0
    document = valid(outcome.object, "eval", "report")
    assert document["judge"] == {
        "model": "judge-1", "served": ["judge-1-served"], "prompt": "answer/1",
        "first_date": document["judge"]["first_date"], "last_date": document["judge"]["last_date"],
    }  # fmt: skip
    assert document["judge"]["last_date"] == f"{datetime.now(UTC):%Y-%m-%d}"
    for row in document["rows"]:
        assert (row["judge_accuracy"], row["judge_score"], row["judge_failed"]) == (1, 4, 0)
        assert row["by_part"]["official"]["accuracy"] == row["accuracy"] == 0
    asked = len(endpoint.seen)
    assert 0 < asked <= sum(row["questions"] for row in document["rows"])
    assert asked == len((tmp_path / "out" / judge.FILE).read_text().splitlines())
    prompts = [one["messages"][1]["content"] for _, one, _ in endpoint.seen]
    assert all("Answer the question using a single word or phrase." in one for one in prompts)
    # Again, without the judge, and as a report: nothing is asked, and all verdicts are there.
    assert evaluate("activitynetqa", tmp_path, *flags).object == document
    assert evaluate("activitynetqa", tmp_path, "--json", "--quiet").object == document
    assert run_here("eval", "report", tmp_path / "out", "--json", "--quiet").object == document
    assert len(endpoint.seen) == asked
    text = run_here("eval", "report", tmp_path / "out").out
    assert " Judge, % Judge score " in " ".join(text.split())
    assert (
        "Judge: judge-1 (served as judge-1-served), prompt answer/1, "
        f"{document['judge']['last_date']}; score from 0 to 5." in " ".join(text.split())
    )
    values = run_here("eval", "report", tmp_path / "out", "--csv").out
    for line in csv.DictReader(io.StringIO(values)):
        assert (line["judge"], line["judge_accuracy"], line["judge_score"]) == (
            "judge-1",
            "1.0",
            "4.0",
        )
    everything = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "sk-secret" not in everything + values + text


def test_captions_have_a_score_alone_and_what_isnt_graded_is_worth_nothing(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.plan = ["nonsense"] * 3
    flags = ("--judge-url", endpoint.url, "--judge-model", "judge-1", "--methods", "none")
    outcome = evaluate("video_dc499", tmp_path, *flags)
    assert outcome.code == 0
    row = run_here("eval", "report", tmp_path / "out", "--json").object["rows"][0]
    said = [
        json.loads(line)["error"]
        for line in (tmp_path / "out" / judge.FILE).read_text().splitlines()
    ]
    failed = sum(error is not None for error in said)
    assert (row["judge_accuracy"], row["judge_failed"]) == (None, failed)
    assert row["judge_score"] == pytest.approx(4 * (2 - failed) / 2)
    assert "Judge score" in outcome.out
    assert "Judge, %" not in outcome.out
    # Failed verdicts are asked for again.
    again = evaluate("video_dc499", tmp_path, *flags, "--json", "--quiet").object["rows"][0]
    assert (again["judge_score"], again["judge_failed"]) == (4, 0)


def test_an_endpoint_that_refuses_keeps_the_answers(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.plan = [401] * 9
    flags = ("--judge-url", endpoint.url, "--judge-model", "judge-1", "--quiet")
    outcome = evaluate("activitynetqa", tmp_path, *flags)
    assert outcome.code == 4
    assert outcome.err.endswith(f" refuses the key (401): set {KEY}\n")
    report = run_here("eval", "report", tmp_path / "out")
    assert report.code == 0
    assert "no verdict of judge-1, so that the judge's figures are left out" in report.err
    assert "Judge" not in report.out
    endpoint.plan = []
    assert (
        evaluate("activitynetqa", tmp_path, *flags, "--json").object["judge"]["model"] == "judge-1"
    )


@pytest.mark.parametrize(
    ("name", "flags", "key", "sentence"),
    [
        ("nextqa_mc_test", ["--judge-model", "j"], "k", "--judge-model is for open answers, and"),
        ("activitynetqa", ["--judge-url", "http://x/v1"], "k", "--judge-url needs --judge-model"),
        ("activitynetqa", ["--judge-model", "j"], "", "--judge-model j needs a key: set OPENAI"),
        (
            "activitynetqa", ["--judge-model", "j", "--judge-url", "x"], "k",
            "--judge-url must be an address such as",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_before_a_model_is_loaded(
    name: str, flags: list[str], key: str, sentence: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", never)
    monkeypatch.setenv(KEY, key)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if len(flags) == 2 and not key:
        pytest.importorskip("openai", reason="the package openai (extra judge) isn't installed")
    outcome = evaluate(name, tmp_path, *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", never)
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "dycoke_cli.runs.remote.remote_client", raising=False)
    outcome = evaluate("activitynetqa", tmp_path, "--judge-model", "j")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: a judge needs the package openai: ")


def asked(count: int, judge: str | None) -> run_record.RunRecord:
    items = tuple(Item(f"q{n}", "v", "What?", f"a{n}", "k", "") for n in range(count))
    return run_record.RunRecord((), items, 2, {}, "accuracy", False, judge=judge, prompt="answer")


def answer(number: int, error: str | None = None) -> Prediction:
    said = "" if error else f"said {number}"
    return Prediction(f"q{number}", said, False, {}, 0, 0, 0, 0, 0, 0, error=error)


def verdict(number: int, model: str = "j", **values: Any) -> tuple[str, Verdict]:
    key = key_of(Judged("What?", f"a{number}", f"said {number}"), model, ANSWER)
    given = {"correct": None, "score": None, "error": None, "model": "j-1", "date": "2026-11-20T"}
    return key, Verdict(key, prompt="answer/1", **{**given, **values})


def test_grades_by_hand() -> None:
    """Of four questions one is correct (4), one isn't (2), one verdict and one answer failed."""
    said = {f"q{n}": answer(n, "gone" if n == 3 else None) for n in range(4)}
    known = dict(
        [
            verdict(0, correct=True, score=4.0),
            verdict(1, correct=False, score=2.0, date="2026-11-22T"),
            verdict(2, error="nonsense"),
            verdict(0, "other", correct=False, score=0.0),
        ]
    )
    grades, found, missing = grades_of(asked(4, "j"), said, known)
    assert grades == {"judge_accuracy": 1 / 4, "judge_score": 6 / 4, "judge_failed": 1}
    assert missing == 0
    judge = judge_of(asked(4, "j"), found)
    assert (judge.served, judge.first_date, judge.last_date) == (
        ("j-1",), "2026-11-20", "2026-11-22",
    )  # fmt: skip
    # One that is missing is no zero.
    del known[verdict(1)[0]]
    assert grades_of(asked(4, "j"), said, known)[0::2] == (None, 1)
    assert grades_of(asked(4, None), said, known) == (None, [], 0)
    assert judge_of(asked(4, "j"), []) is None

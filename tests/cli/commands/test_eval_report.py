"""`dycoke eval report`: the tables of a run again, from its folder."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.evaluation import run_record
from dycoke_cli.evaluation.prediction import FILE
from tests.cli.harness import HEAVY, Outcome, run_here, run_light
from tests.documents import valid
from tests.evaluation.prepared import Prepared, never
from tests.evaluation.samples import Samples

SMALL = ("--split", "validation", "--limit", "4", "--frames", "2", "--device", "cpu", "--quiet")
METHODS = ("--methods", "none,dycoke:merge_ratio=0.7,no-video")


def run(folder: Path, *flags: str) -> Outcome:
    return run_here("eval", "samples", *SMALL, *METHODS, "--out", folder, *flags)


def report(*arguments: str | Path) -> Outcome:
    return run_here("eval", "report", *arguments)


@pytest.fixture(scope="module")
def done(samples: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dycoke_cli.runs.run.asker_here", Prepared())
        assert run(folder).code == 0
    return folder


@pytest.fixture(autouse=True)
def no_model(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", never)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_tables_of_the_run_again(done: Path, flags: tuple[str, ...]) -> None:
    again = report(done, "--quiet", *flags)
    assert again == run(done, *flags)
    assert again.code == 0
    if flags == ("--json",):
        valid(again.object, "eval", "report")


def test_neither_the_benchmark_nor_torch_is_needed(done: Path) -> None:
    """In a process of its own, that knows no such benchmark."""
    there = run_light(["eval", "report", done, "--json", "--quiet"], heavy=HEAVY[:3])
    assert (there.code, there.err) == (0, "")
    assert there.object == report(done, "--json").object


def test_values_separated_by_commas(done: Path) -> None:
    outcome = report(done, "--csv", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    lines = list(csv.DictReader(io.StringIO(outcome.out)))
    document = report(done, "--json").object
    for line, row in zip(lines, document["rows"], strict=True):
        assert (line["benchmark"], line["model"]) == ("samples", "mini")
        assert json.loads(line["parameters"]) == row["parameters"]
        assert float(line["accuracy"]) == row["accuracy"]
        assert line["difference"] == ("" if row["difference"] is None else str(row["difference"]))
        assert float(line["by_type.action"]) == row["by_type"]["action"]["accuracy"]
    assert [line["spec"] for line in lines] == [row["spec"] for row in document["rows"]]


def copied(folder: Path, to: Path, change: Any = lambda line: line) -> Path:
    """A folder like another, each answer changed; a change of None leaves it out."""
    to.mkdir()
    (to / run_record.FILE).write_bytes((folder / run_record.FILE).read_bytes())
    from dycoke_cli.evaluation import prediction

    lines = [prediction._verified(line) for line in (folder / FILE).read_bytes().splitlines(True)]
    new = [line if "about" in line else change(line) for line in lines]
    kept = [{**line, "check": prediction._check(line)} for line in new if line is not None]
    (to / FILE).write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    return to


def head(folder: Path) -> dict[str, Any]:
    """What a record says beside its questions."""
    known: dict[str, Any] = json.loads((folder / run_record.FILE).read_text().splitlines()[0])
    return known


def rewritten(folder: Path, **values: Any) -> None:
    path = folder / run_record.FILE
    _, *items = path.read_text().splitlines(True)
    path.write_text("".join([json.dumps(head(folder) | values) + "\n", *items]))


def test_what_an_interrupted_run_did_not_ask_is_wrong_and_listed(
    done: Path, tmp_path: Path
) -> None:
    lost = Samples().items("validation", 4)[2].id
    part = copied(done, tmp_path / "part", lambda line: None if line["item"] == lost else line)
    outcome = report(part, "--json")
    assert outcome.code == 1
    assert [(row["questions"], row["failed"]) for row in outcome.object["rows"]] == [(4, 1)] * 3
    assert [(one["item"], one["reason"], one["text"]) for one in outcome.object["unscored"]] == [
        (lost, "failed", "it was not asked: the run was interrupted")
    ] * 3


def test_damaged_lines_are_left_out_and_said(done: Path, tmp_path: Path) -> None:
    torn = copied(done, tmp_path / "torn")
    content = (torn / FILE).read_bytes()
    (torn / FILE).write_bytes(content[:-20])
    outcome = report(torn)
    assert outcome.code == 1
    assert re.match(
        r"Warning: .*answers\.jsonl has 1 damaged line\(s\), which are left", outcome.err
    )
    assert (torn / FILE).read_bytes() == content[:-20]  # it isn't the report's to mend


def test_what_a_failed_video_says_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", Prepared())
    broken = Samples().items("validation", 2)[1].video
    monkeypatch.setattr(
        "dycoke_cli.cli.commands.eval.open_dataset", lambda *_: Samples(broken=broken)
    )
    flags = ("eval", "samples", *SMALL, "--limit", "2", "--methods", "none", "--out", tmp_path)
    there = run_here(*flags, "--json")
    assert there.code == 1
    again = report(tmp_path, "--json", "--quiet")
    assert again == there
    assert "no.mp4 doesn't exist" in again.object["unscored"][0]["text"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"has no run\.jsonl: name a folder that `dycoke eval --out` wrote"),
        ("{", r"run\.jsonl is damaged, or another release wrote it: run the same"),
        ('{"schema": "dycoke.run/9"}', r"run\.jsonl is damaged, or another release wrote it"),
        ("[]", r"run\.jsonl is damaged"),
    ],
)
def test_what_is_no_run(content: str | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILE).touch()
        (tmp_path / run_record.FILE).write_text(content)
    outcome = report(tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert re.search(sentence, outcome.err)


def test_flags_that_exclude_each_other(done: Path) -> None:
    outcome = report(done, "--json", "--csv")
    assert outcome.code == 2
    assert "--json and --csv exclude each other; use one" in outcome.err
    assert report().code == 2


@pytest.mark.parametrize(
    "change",
    [
        {"rows": []},
        {"rows": None},
        {"judge": "gpt", "prompt": "none"},
        {"questions": 9},
        {"model": {"name": True}},
        {"model": {"device": 5}},
        {"model": {"weights": []}},
        {"model": {"unknown": "x"}},
    ],
)
def test_a_record_whose_values_are_of_another_kind(
    done: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = copied(done, tmp_path / "copy")
    rows = head(folder)["rows"]
    for row in rows:
        row["setup"]["model"] |= change.get("model", {})
    rewritten(folder, **{"rows": rows, **{k: v for k, v in change.items() if k != "model"}})
    outcome = report(folder)
    assert (outcome.code, outcome.out) == (2, "")
    assert "run.jsonl is damaged, or another release wrote it" in outcome.err


def test_a_row_without_any_answer_counts_as_wrong(done: Path, tmp_path: Path) -> None:
    """Its answers were lost; those of the others are compared with it all the same."""
    folder = copied(done, tmp_path / "copy")
    rows = head(folder)["rows"]
    rows[0]["setup"]["max_tokens"] += 1
    rewritten(folder, rows=rows)
    outcome = report(folder)
    assert outcome.code == 1  # for it isn't whole
    assert "it was not asked: the run was interrupted" in outcome.out
    assert "unexpected" not in outcome.err

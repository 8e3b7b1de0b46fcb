"""`dycoke convert`: the table is that of `dycoke batch --out`, and a batch resumes from it."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli import extras
from dycoke_cli.runs import local
from tests.cli.harness import ROOT, Outcome, run_here
from tests.runs.pretended import Pretended, make_clips

MINI = ("--model", "mini", "--device", "cpu", "--quiet")


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended()
    monkeypatch.setattr(local, "answers", pretended)
    return pretended


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Answers and a failure."""
    clips = make_clips(tmp_path / "clips", "1.mp4", "2.mp4", "bad.mp4")
    out = tmp_path / "answers.jsonl"
    assert run_here("batch", clips, "What, exactly?", "-q", "=Why?", "--out", out, *MINI).code == 1
    return out


def convert(*arguments: str | Path) -> Outcome:
    return run_here("convert", *arguments)


@pytest.mark.parametrize("fields", [(), ("--fields", "id,answer,tokens.visual,method")])
def test_the_table_is_that_of_batch_which_resumes_from_it(
    answers: Path, engine: Pretended, fields: tuple[str, ...]
) -> None:
    table, expected = answers.with_suffix(".csv"), answers.with_name("expected.csv")
    run = convert(answers, table, *fields)
    assert (run.code, run.out, run.err) == (0, "", f"6 answers in {table}\n")
    clips = answers.with_name("clips")
    command = ("batch", clips, "What, exactly?", "-q", "=Why?", *fields, "--device", "cpu")
    run_here(*command, "--out", expected, *MINI)
    assert table.read_bytes() == expected.read_bytes()
    before = len(engine.asked)
    back = answers.with_name("back.jsonl")
    assert convert(table, back).err == f"6 answers in {back}\n"
    for out in (table, back):
        again = run_here(*command, "--model", "mini", "--out", out)
        assert again.err.startswith("6 questions about 3 clips, 4 done already, 2 failed earlier")
        # `--fields` is for tables.
        command = [word for word in command if word not in fields]
    assert len(engine.asked) == before
    answered = [json.loads(line) for line in answers.read_text().splitlines()]
    known = [json.loads(line) for line in back.read_text().splitlines()]
    for one, line in zip(known, answered, strict=True):
        assert [one.get(key) for key in ("key", "video", "answer", "error")] == [
            line.get(key) for key in ("key", "video", "answer", "error")
        ]


def test_the_columns_of_parts(tmp_path: Path, engine: Pretended) -> None:
    make_clips(tmp_path, "1.mp4", "torn.mp4")
    questions = tmp_path / "questions.csv"
    questions.write_text(
        "video,question,start,end\n1.mp4,Why?,1,2\n1.mp4,Why?,,\ntorn.mp4,=Who?,3,\n"
    )
    command = ("batch", "--questions", questions, *MINI, "--out")
    lines, table, expected = (tmp_path / name for name in ("a.jsonl", "b.csv", "expected.csv"))
    run_here(*command, lines)
    run_here(*command, expected)
    assert convert(lines, table).code == 0
    assert table.read_bytes() == expected.read_bytes()


def saved(table: Path) -> Path:
    """A copy with semicolons and decimal commas, as a spreadsheet program would save it."""
    with table.open(newline="") as file:
        rows = [*csv.reader(file)]
    shown = [[re.sub(r"\A(\d+)\.(\d+)\Z", r"\1,\2", cell) for cell in row] for row in rows]
    copy = table.with_name("saved.csv")
    with copy.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";").writerows(shown)
    return copy


@pytest.mark.slow
def test_from_a_table_as_from_the_lines(answers: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow isn't installed")
    make_clips(answers.with_name("clips"), "torn.mp4")
    asked = ("batch", answers.with_name("clips"), "What, exactly?", "-q", "=Why?", *MINI, "--out")
    run_here(*asked, answers)
    fields = "id,video,answer,warnings,seconds.total,tokens.visual,frames.timestamps_s,method"
    table = answers.with_suffix(".csv")
    convert(answers, table, "--fields", fields)
    expected = answers.with_suffix(".parquet")
    convert(answers, expected, "--fields", fields)
    lines = parquet.read_table(expected)
    for number, given in enumerate((table, saved(table))):
        made = answers.with_name(f"{number}.parquet")
        run = convert(given, made)
        assert (run.code, run.err) == (0, f"8 answers in {made}\n")
        found = parquet.read_table(made)
        assert found.column_names == lines.column_names
        for one, true in zip(found.to_pylist(), lines.to_pylist(), strict=True):
            assert {**one, "warnings": one["warnings"] or []} == {
                **true, "warnings": true["warnings"] or []
            }  # fmt: skip
        again = answers.with_name(f"{number}.csv")
        convert(given, again)
        assert again.read_bytes() == table.read_bytes()
    run = convert(table, answers.with_name("new.csv"), "--fields", "answer,bytes.kv_cache")
    assert (run.code, run.err) == (2, f"Error: {table} has no column bytes.kv_cache\n")


def test_a_field_of_objects_keeps_one_type_in_all_rows(tmp_path: Path) -> None:
    """A table doesn't say whether 7 is a number or a text: it is one if all of them are."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow isn't installed")
    objects = [{"name": "7", "count": 7, "v.1": True}, {"name": "Bo", "count": 8, "v.1": None}]
    lines = tmp_path / "a.jsonl"
    about = {"schema": "dycoke.answer/1", "video": "a.mp4", "question": "?"}
    lines.write_text(
        "".join(
            json.dumps({**about, "key": key * 32, "parsed": value}) + "\n"
            for key, value in zip("01", objects, strict=True)
        )
    )
    convert(lines, tmp_path / "a.csv")
    convert(tmp_path / "a.csv", tmp_path / "a.parquet")
    found = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    names = ("parsed.name", "parsed.count", "parsed.v.1")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("7", 7, True),
        ("Bo", 8, None),
    ]


def test_a_question_that_was_asked_again_has_one_row(answers: Path) -> None:
    lines = answers.read_text().splitlines(keepends=True)
    (failed, *_) = [line for line in lines if "error" in json.loads(line)]
    first = json.loads(failed)
    answered = {**json.loads(lines[0]), "key": first["key"], "answer": "at last"}
    answers.write_text("".join(lines) + json.dumps(answered) + "\n")
    table = answers.with_suffix(".csv")
    convert(answers, table)
    rows = [line for line in table.read_text().splitlines() if first["key"] in line]
    assert len(rows) == 1
    assert "at last" in rows[0]
    assert table.read_text().splitlines()[-1] == rows[0]  # where the answer is, not the failure


def test_parquet_keeps_types(answers: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow isn't installed")
    table = answers.with_suffix(".parquet")
    assert convert(answers, table, "--fields", "answer,tokens.visual,frames.timestamps_s").code == 0
    found = parquet.read_table(table).to_pylist()
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [row["answer"] for row in found] == [line.get("answer") for line in lines]
    tokens = [line.get("tokens", {}).get("visual") for line in lines]
    assert [row["tokens.visual"] for row in found] == tokens
    assert any(isinstance(number, int) for number in tokens)
    codes = [line.get("error", {}).get("code") for line in lines]
    assert [row["error.code"] for row in found] == codes
    assert isinstance(found[0]["frames.timestamps_s"], list)


def test_typed_answers_have_a_column_for_each_option(tmp_path: Path) -> None:
    line: dict[str, Any] = {
        "schema": "dycoke.answer/1", "video": "a.mp4", "question": "Day?", "key": "0" * 32,
        "choice": "day, bright", "margin": 0.5, "scoring": {"mass": 1.0},
        "probabilities": {"day, bright": 0.75, "night": 0.25},
    }  # fmt: skip
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text(json.dumps(line) + "\n")
    assert convert(lines, table, "--quiet").err == ""
    head, row = table.read_text().splitlines()
    assert head.count("probabilities.") == 2
    assert (
        'choice,warnings,margin,"probabilities.day, bright",probabilities.night,scoring.mass'
        in head
    )
    assert '"day, bright",,0.5,0.75,0.25,1.0' in row


def test_numbers_have_no_column_for_each(tmp_path: Path) -> None:
    """As in the table of a batch: they differ from answer to answer."""
    line = {"schema": "dycoke.answer/1", "video": "a.mp4", "question": "?"}
    about = {"margin": 0.5, "mean": 3.25, "scoring": {"mass": 1.0}}
    answered = [{"3": 0.75, "4": 0.25}, {"12": 1.0}]
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text(
        "".join(
            json.dumps({**line, "key": key * 32, "choice": "3", "probabilities": shares, **about})
            + "\n"
            for key, shares in zip("01", answered, strict=True)
        )
    )
    assert convert(lines, table, "--quiet").err == ""
    head, *rows = table.read_text().splitlines()
    assert "choice,warnings,margin,mean,scoring.mass" in head
    assert len(rows) == 2


def test_what_is_refused(answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign, empty, table = tmp_path / "f.jsonl", tmp_path / "e.jsonl", tmp_path / "there.csv"
    foreign.write_text('{"a": 1}\n')
    notes, wrong = tmp_path / "n.csv", tmp_path / "w.csv"
    notes.write_text("video,question,notes\na.mp4,Why?,\n")
    wrong.write_text("video,margin\na.mp4,0.5\na.mp4,half\n")
    empty.touch()
    table.write_text("mine")
    new = tmp_path / "new.csv"
    for words, code, sentence in (
        (
            (answers, tmp_path / "a.xlsx"),
            2,
            "name a file that ends in .csv, .jsonl, .ndjson, .parquet, .srt, .vtt, .edl",
        ),
        ((answers, table), 6, "there.csv exists, and stays as it is"),
        ((foreign, new), 2, "f.jsonl, line 1: that isn't an answer of dycoke"),
        ((empty, new), 2, "e.jsonl has no answers yet"),
        ((notes, new), 2, "n.csv, line 1: that isn't an answer of dycoke"),
        ((wrong, new), 2, "w.csv, line 3: that isn't a value of margin"),
        ((tmp_path / "none.jsonl", new), 2, "none.jsonl doesn't exist"),
        ((answers, tmp_path / "no" / "a.csv"), 6, "there is no folder"),
        ((answers, new, "--fields", "nothing"), 2, "no key 'nothing'"),
        ((answers, tmp_path / "b.jsonl", "--fields", "id"), 2, "leave them out, or .jsonl"),
    ):
        run = convert(*words)
        assert (run.code, run.out) == (code, "")
        assert sentence in run.err
        assert not new.exists()
    assert table.read_text() == "mine"
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    run = convert(answers, tmp_path / "a.parquet")
    assert run.code == 4
    assert "needs the package pyarrow, which isn't installed: " in run.err
    batch = run_here("batch", tmp_path / "clips", "What?", "--out", "a.parquet", *MINI)
    assert batch.code == 2
    assert "`dycoke convert a.jsonl a.parquet`" in batch.err


def test_the_commands_of_the_page(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow isn't installed")
    page = (ROOT / "docs" / "guide.md").read_text("utf-8")
    (block,) = re.findall(r"^```sh convert\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    answers.rename(tmp_path / "results.jsonl")
    monkeypatch.chdir(tmp_path)
    for command in block.splitlines():
        assert run_here(*shlex.split(command)[1:]).code == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"results.csv", "results.parquet"}

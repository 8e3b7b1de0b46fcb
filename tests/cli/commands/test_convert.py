"""`dycoke convert`: the table is that of `dycoke batch --out`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from dycoke_cli import errors
from tests.cli.harness import ROOT, Outcome, run_here
from tests.runs.pretended import make_clips

MINI = ("--model", "mini", "--device", "cpu", "--quiet")

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Answers and a failure."""
    clips = make_clips(tmp_path / "clips", "1.mp4", "2.mp4", "bad.mp4")
    out = tmp_path / "answers.jsonl"
    assert run_here("batch", clips, "What, exactly?", "-q", "=Why?", "--out", out, *MINI).code == 1
    return out


def convert(*arguments: str | Path) -> Outcome:
    return run_here("convert", *arguments)


def test_the_table_is_that_of_batch(answers: Path) -> None:
    table, expected = answers.with_suffix(".csv"), answers.with_name("expected.csv")
    run = convert(answers, table)
    assert (run.code, run.out, run.err) == (0, "", f"6 answers in {table}\n")
    clips = answers.with_name("clips")
    command = ("batch", clips, "What, exactly?", "-q", "=Why?")
    assert run_here(*command, "--out", expected, *MINI).code == 1
    assert table.read_bytes() == expected.read_bytes()
    assert convert(answers, table).code == 6  # not even its own is replaced


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


@pytest.mark.parametrize("keys", ["media_path", "key,text"])
def test_captions_in_one_file_are_a_table(tmp_path: Path, keys: str) -> None:
    clips = make_clips(tmp_path / "clips", "1.mp4", "2.mp4")
    captions, table = clips / "all.jsonl", tmp_path / "all.csv"
    command = ("caption", clips, "--prompt", "What?", "--out", captions, "--key", keys)
    assert run_here(*command, *MINI).code == 0
    assert convert(captions, table).err == f"2 captions in {table}\n"
    names = keys if "," in keys else f"{keys},caption"
    assert table.read_text() == f"{names}\n1.mp4,What? indeed\n2.mp4,What? indeed\n"


def test_what_is_refused(answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign, empty, table = tmp_path / "f.jsonl", tmp_path / "e.jsonl", tmp_path / "there.csv"
    foreign.write_text('{"a": 1}\n')
    notes = tmp_path / "n.csv"
    notes.write_text("video,question,notes\na.mp4,Why?,\n")
    empty.touch()
    table.write_text("mine")
    new = tmp_path / "new.csv"
    for words, code, sentence in (
        (
            (answers, tmp_path / "a.xlsx"),
            2,
            "name a file that ends in .csv, .parquet, .srt, .vtt or .markers.csv",
        ),
        ((answers, table), 6, "there.csv exists, or was changed"),
        ((foreign, new), 2, "f.jsonl, line 1: that isn't an answer of dycoke"),
        ((empty, new), 2, "e.jsonl has no answers yet"),
        ((notes, new), 2, "n.csv, line 1: that isn't JSON"),
        ((tmp_path / "none.jsonl", new), 2, "none.jsonl doesn't exist"),
        ((answers, tmp_path / "no" / "a.csv"), 6, "there is no folder"),
        ((answers, new, "--fields", "nothing"), 2, "no key 'nothing'"),
        ((answers, tmp_path / "b.srt", "--fields", "id"), 2, "leave them out, or .srt"),
    ):
        run = convert(*words)
        assert (run.code, run.out) == (code, "")
        assert sentence in run.err
        assert not new.exists()
    assert table.read_text() == "mine"
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    run = convert(answers, tmp_path / "a.parquet")
    assert run.code == 4
    assert "needs the package pyarrow, which isn't installed: " in run.err
    batch = run_here("batch", tmp_path / "clips", "What?", "--out", "a.parquet", *MINI)
    assert batch.code == 4
    assert "needs the package pyarrow" in batch.err


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

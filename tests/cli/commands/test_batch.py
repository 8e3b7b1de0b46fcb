"""`dycoke batch`: what goes in, what comes out, and what is refused; the engine only pretends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.ask import Answered
from tests.cli.harness import Outcome, run_here
from tests.runs.pretended import WARNINGS, Pretended, make_clips, pretended_answer, valid

MINI = ("--model", "mini", "--device", "cpu")

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return make_clips(tmp_path / "clips", "1.mp4", "2.mp4", "10.mp4")


def batch(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
    return run_here("batch", *arguments, *MINI, stdin=stdin)


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    return [valid(line) for line in outcome.objects]


def test_lines_on_stdout_and_the_rest_on_stderr(clips: Path) -> None:
    assert batch(clips, "What?", "--out", "-").out == batch(clips, "What?").out
    (clips / "notes.txt").touch()
    run = batch(clips, "What?", "-q", "Why?")
    assert run.code == 0
    assert [(Path(line["video"]).name, line["question"]) for line in lines(run)] == [
        (name, question) for name in ("1.mp4", "2.mp4", "10.mp4") for question in ("What?", "Why?")
    ]
    assert run.err.splitlines() == [
        "Skipped 1 file without a video extension: notes.txt",
        "6 questions about 3 clips answered",
    ]
    assert batch(clips, "What?", "--quiet").err == ""


def test_the_bundled_model_is_named_once(clips: Path) -> None:
    run = run_here("batch", clips, "What?", "--device", "cpu")
    assert run.err.count("Using the bundled demo model") == 1


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
def test_a_clip_with_warnings_is_named_at_the_end_and_in_the_table(
    clips: Path, tmp_path: Path, name: str
) -> None:
    make_clips(clips, "torn.mp4")
    out, torn = tmp_path / name, clips / "torn.mp4"
    run = batch(clips, "What?", "-q", "Why?", "--out", out)
    named = f"1 clip with warnings ({torn})"
    assert run.err.splitlines()[0] == f"8 questions about 4 clips answered, {named}"
    assert batch(clips, "What?", "-q", "Why?", "--out", out).err.splitlines()[0] == (
        f"8 questions about 4 clips done already, {named}"
    )
    if out.suffix == ".csv":
        with out.open(newline="") as file:
            rows = [(Path(row["video"]), row["warnings"]) for row in csv.DictReader(file)]
        assert {video for video, warnings in rows if warnings} == {torn}
        assert {video for video, warnings in rows if not warnings} == {*clips.iterdir()} - {torn}
        assert all(json.loads(cell) == [*WARNINGS] for _, cell in rows if cell)
    make_clips(clips, "torn2.mp4", "torn3.mp4", "torn4.mp4")
    several = f"4 with warnings ({torn}, {clips / 'torn2.mp4'}, {clips / 'torn3.mp4'}, …)"
    assert batch(clips, "What?", "--out", out).err.splitlines()[0].endswith(several)


@pytest.mark.parametrize(
    "name", ["a.xlsx", "a.txt", "a.json", "a.csv.gz", "a", "results/", ".jsonl"]
)
def test_a_suffix_that_is_not_written_is_refused_before_anything_is_read(
    tmp_path: Path, name: str
) -> None:
    run = batch(tmp_path / "no such folder", "What?", "--out", f"{tmp_path}/{name}")
    assert (run.code, run.out) == (2, "")
    suffixes = ".jsonl, .ndjson, .csv, .parquet, .srt, .vtt or .markers.csv"
    assert f"name a file that ends in {suffixes}" in run.err
    assert [*tmp_path.iterdir()] == []


def test_a_torn_line_is_made_anew_and_said(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    batch(clips, "What?", "--out", out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])
    run = batch(clips, "What?", "--out", out)
    assert run.err.splitlines() == [
        f"Warning: the last line of {out} was half written; its question is asked again",
        "3 clips, 2 done already",
        f"Results: {out}",
    ]
    assert out.read_bytes() == whole


def test_failures_stand_until_they_are_asked_again(
    clips: Path, tmp_path: Path, engine: Pretended
) -> None:
    out = tmp_path / "results.jsonl"
    make_clips(clips, "bad.mp4")
    run = batch(clips, "What?", "--out", out)
    assert (run.code, run.err.splitlines()) == (
        1,
        [
            f"Failed: {clips / 'bad.mp4'}: it can't be read",
            "4 clips, 1 failed; retry with --retry-failed",
            f"Results: {out}",
        ],
    )
    run = batch(clips, "What?", "--out", out)
    assert (run.code, run.err.splitlines()) == (
        1,
        [
            "4 clips, 3 done already, 1 failed earlier; retry with --retry-failed",
            f"Results: {out}",
        ],
    )
    assert batch(clips, "What?", "--out", out, "--retry-failed").code == 1
    assert [name for name, _ in engine.asked].count("bad.mp4") == 2
    assert len(out.read_text().splitlines()) == 4


def test_a_clip_that_failed_and_was_replaced_has_one_line(
    clips: Path, tmp_path: Path, engine: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bad = tmp_path / "results.jsonl", clips / "bad.mp4"
    make_clips(clips, "bad.mp4")
    command = (clips, "What?", "-q", "Why?", "--out", out)
    assert batch(*command).code == 1
    bad.write_bytes(b"another file, that is torn as well")
    assert batch(*command).code == 1
    assert len(out.read_text().splitlines()) == 8
    answer = lambda ask: Answered(ask.named(pretended_answer(ask.question)))  # noqa: E731
    monkeypatch.setattr(engine, "_event", answer)
    bad.write_bytes(b"whole")
    assert batch(*command).code == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert (len(found), [line for line in found if "error" in line]) == (8, [])
    # An answer costs time, and its file may come back: it stays, and no table has both.
    (clips / "1.mp4").write_bytes(b"cut anew")
    assert batch(*command).code == 0
    assert len(out.read_text().splitlines()) == 10
    run = run_here("convert", out, table := tmp_path / "table.csv")
    left = "; left out 2 about earlier contents of the videos' files"
    assert run.err == f"8 answers in {table}{left}\n"
    assert len({(row["video"], row["question"]) for row in csv.DictReader(table.open())}) == 8


def test_the_first_failure_ends_it(clips: Path) -> None:
    make_clips(clips, "bad.mp4", "zzz.mp4")
    run = batch(clips, "What?", "--fail-fast")
    assert (run.code, len(lines(run))) == (1, 4)
    assert run.err.splitlines() == [
        f"Failed: {clips / 'bad.mp4'}: it can't be read",
        "5 clips, 1 failed, 1 not asked",
    ]


@pytest.mark.parametrize("where", ["file", "stdin", "folder"])
def test_questions_from_a_file(clips: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = b"video,question,id\n1.mp4,What?,a\n2.mp4,Why?,b\n1.mp4,Who?,\n"
    (clips / "q.csv").write_bytes(rows)
    monkeypatch.chdir(clips)
    given: dict[str, Any] = {
        "file": {"arguments": ["--questions", clips / "q.csv"]},
        "stdin": {"arguments": ["--questions", "-"], "stdin": rows},
        "folder": {"arguments": [clips, "--questions", "-"], "stdin": rows},
    }[where]
    run = batch(*given.pop("arguments"), **given)
    assert [(line["id"], line["video"], line["question"]) for line in lines(run)] == [
        ("a", "1.mp4", "What?"),
        (None, "1.mp4", "Who?"),
        ("b", "2.mp4", "Why?"),
    ]
    assert all(line["digest"] for line in lines(run))


def test_a_failure_is_named_once_for_all_questions(clips: Path) -> None:
    make_clips(clips, "bad.mp4", "bad2.mp4")
    run = batch(clips, "What?", "-q", "Why?")
    assert [line for line in run.err.splitlines() if line.startswith("Failed")] == [
        f"Failed: {clips / name}: it can't be read" for name in ("bad2.mp4", "bad.mp4")
    ]
    assert "Failed" not in batch(clips, "What?", "--quiet").err


def test_several_paths_as_a_shell_makes_them(
    clips: Path, tmp_path: Path, engine: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are answered as those of the pattern are: nothing of it is asked again."""
    monkeypatch.chdir(tmp_path)
    (clips / "notes.txt").touch()
    expanded = sorted(str(path.relative_to(tmp_path)) for path in clips.iterdir())
    run = batch(*expanded, "What?", "--out", "o.jsonl")
    assert run.code == 0
    assert run.err.splitlines() == [
        "Skipped 1 file without a video extension: notes.txt",
        "3 clips answered",
        "Results: o.jsonl",
    ]
    assert [name for name, _ in engine.asked] == ["1.mp4", "10.mp4", "2.mp4"]
    for again in (["clips/*.mp4"], ["clips"], ["clips/2.mp4"]):
        batch(*again, "What?", "--out", "o.jsonl")
    assert len(engine.asked) == 3
    # Behind -q no word is a question, also where a video isn't there.
    assert len(batch("clips/1.mp4", "clips/2.mp4", "-q", "Why?").objects) == 2
    assert "gone.mp4 doesn't exist" in batch("clips/1.mp4", "gone.mp4", "-q", "Why?").refusal


def test_rows_are_no_formulas_and_no_escapes(clips: Path, engine: Pretended) -> None:
    questions = ("=1+1", "+1", "-1", "@SUM(A1)", "＝1", "a=1\x1b]0;x\x07", "\u202ea", "1\r2")
    (clips / "1.mp4").rename(clips / os.fsdecode(b"caf\xe9\x1b[2J.mp4"))
    more = [part for text in questions[1:] for part in ("-q", text)]
    table = clips.parent / "table.csv"
    batch(clips, questions[0], *more, "--out", table)
    content = table.read_text("utf-8-sig")
    rows = [
        [row["question"], row["answer"], row["video"]]
        for row in csv.DictReader(io.StringIO(content))
    ]
    assert [row[0] for row in rows[:8]] == [
        "'=1+1", "'+1", "'-1", "'@SUM(A1)", "'＝1", "a=1\\x1b]0;x\\x07", "\\u202ea", "1\\r2",
    ]  # fmt: skip
    assert all(row[1] == f"{row[0]} indeed" for row in rows)
    assert {row[2] for row in rows} >= {str(clips / "caf\\xe9\\x1b[2J.mp4")}
    assert not set(content) & set("\x1b\x07\r\x9b\u202e")
    # In JSON all of it is exact.
    run = batch(clips, *questions[:1], *more)
    assert {line["question"] for line in lines(run)} == set(questions)


def test_a_table_is_made_of_the_answers_by_which_the_next_run_goes_on(
    clips: Path, tmp_path: Path, engine: Pretended
) -> None:
    out = tmp_path / "Results.CSV"
    assert (run := batch(clips, "What,\nnow?", "--out", out)).code == 0
    assert run.out == ""
    assert run.err.endswith(f"Results: {tmp_path / 'Results.jsonl'}\n3 answers in {out}\n")
    make_clips(clips, "bad.mp4")
    run = batch(clips, "What,\nnow?", "--out", out)
    assert (run.code, len(engine.asked)) == (1, 4)
    assert "3 done already, 1 failed" in run.err
    run = batch(clips, "What,\nnow?", "--out", out)
    assert (run.code, len(engine.asked)) == (1, 4)
    assert "1 failed earlier" in run.err
    names = out.read_text().splitlines()[0].split(",")
    read = ["video", "question", "answer", "warnings", "error.code", "error.message"]
    assert names == [*read, "finish_reason", "id", "key"]
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [Path(row["video"]).name for row in rows] == ["1.mp4", "2.mp4", "10.mp4", "bad.mp4"]
    assert {row["question"] for row in rows} == {"What,\\nnow?"}
    # The table is that of a command, and what others asked is told before it is replaced.
    run = batch(clips, "Why?", "--out", out)
    journal = out.with_suffix(".jsonl")
    assert run.err.splitlines()[-2:] == [
        f"4 other answers, by other questions or settings, only in {journal}: `dycoke convert "
        f"{journal} FILE.csv` has all",
        f"4 answers in {out}",
    ]
    # What somebody has changed stays.
    out.write_text("mine")
    run = batch(clips, "What,\nnow?", "--out", out)
    assert (run.code, out.read_text()) == (6, "mine")


def test_a_table_has_the_order_of_the_file_of_questions(clips: Path, tmp_path: Path) -> None:
    """A video is read once for all of its questions, wherever they are in the file."""
    questions, out = tmp_path / "questions.csv", tmp_path / "results.csv"
    asked = [("10.mp4", "Why?"), ("1.mp4", "Who?"), ("10.mp4", "What?"), ("1.mp4", "Where?")]
    questions.write_text("video,question\n" + "".join(f"{v},{q}\n" for v, q in asked))
    batch(clips, "--questions", questions, "--out", out)
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [(row["video"].split("/")[-1], row["question"]) for row in rows] == asked


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, r"no videos: `dycoke batch FOLDER"),
        (["clips"], 2, r"no question: put one behind the videos"),
        (["clips/1.mp4", "clips/2.mp4"], 2, r"no question: put one behind the videos"),
        (["clips", "q.csv"], 2, r"no question: put one behind the videos"),
        (["q.csv", "q.csv", "What?"], 2, r"there is no video among these 2 files"),
        (["clips", "none.mp4", "What?"], 2, r"none.mp4 doesn't exist"),
        (["-", "clips", "What?"], 2, r"- reads the list of videos from stdin: leave out"),
        (["clips", "empty", "--questions", "q.csv"], 2, r"VIDEOS is one folder"),
        (["clips", " "], 2, r"a question is empty"),
        (["clips", "What?", "--questions", "q.csv"], 2, r"leave out QUESTION"),
        (["--questions", "none.csv"], 2, r"--questions none.csv can't be read \(No such file"),
        (["q.csv", "--questions", "-"], 2, r"VIDEOS is the folder that its videos are in, and q"),
        (["-", "-q", "-"], 2, r"stdin can be read for one thing only"),
        (["-", "What?"], 2, r"stdin lists no video"),
        (["clips", "What?", "--batch-size", "0"], 2, r"--batch-size must be auto, or 1 or more"),
        (["clips", "What?", "--batch-size", "big"], 2, r"--batch-size must be auto.*'big'"),
        (["clips", "What?", "--engine", "steam"], 2, r"'steam' is not one of 'local', 'ray'"),
        (["clips", "--questions", "q.csv", "-q", "What?"], 2, r"--question and --questions excl"),
        (["clips", "What?", "--model", "minni"], 4, r"did you mean mini\?"),
        (["clips", "What?", "--out", "clips"], 6, r"--out clips is a folder"),
        (["clips", "What?", "--out", "q.csv"], 6, r"q.csv exists, or was changed"),
        (["clips", "What?", "--out", "q.jsonl"], 6, r"q.jsonl, line 1: that isn't a line of re"),
    ],
)
def test_what_is_refused(
    clips: Path,
    arguments: list[str],
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    engine: Pretended,
) -> None:
    monkeypatch.chdir(clips.parent)
    Path("empty").mkdir()
    Path("q.csv").write_text("vdeo,question\n1.mp4,What?\n")
    Path("q.txt").write_text("1.mp4\n")
    Path("q.jsonl").write_text("1.mp4\n")
    # What is tried comes last, so that it wins over the usual model.
    run = run_here("batch", *MINI, *arguments)
    assert (run.code, run.out) == (code, "")
    assert re.fullmatch(rf"Error: .*{sentence}.*\n", run.err)
    assert engine.asked == []


def test_ray_that_is_not_installed(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert re.search(r" pip install .*\[ray\]", batch(clips, "What?", "--engine", "ray").refusal)

"""`batch --questions` with the columns start and end: parts of videos."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.harness import CLIP, run_here
from tests.runs.pretended import Pretended, make_clips, valid

FILE = """id,video,question,start,end
all,clips/1.mp4,Why?,,
half,clips/1.mp4,Why?,0:30,1:00
tail,clips/1.mp4,Why?,30,
"""


@pytest.fixture
def questions(tmp_path: Path, engine: Pretended) -> Path:
    make_clips(tmp_path / "clips", "1.mp4")
    path = tmp_path / "questions.csv"
    path.write_text(FILE)
    return path


def test_a_line_has_the_times_of_its_part(questions: Path) -> None:
    run = run_here("batch", "--questions", questions, "--model", "mini")
    lines = {line["id"]: valid(line) for line in run.objects}
    assert {"start", "end"}.isdisjoint(lines["all"])
    assert (lines["half"]["start"], lines["half"]["end"]) == (30, 60)
    assert lines["tail"]["start"] == 30
    assert "end" not in lines["tail"]
    assert len({line["key"] for line in lines.values()}) == 3


def test_a_part_is_answered_once(questions: Path, tmp_path: Path) -> None:
    command = ("batch", "--questions", questions, "--model", "mini", "--out", tmp_path / "o.jsonl")
    assert run_here(*command).err.startswith("3 questions about 1 clip answered")
    assert run_here(*command).err.startswith("3 questions about 1 clip done already")
    # Another end is another question; the other two are done.
    questions.write_text(FILE.replace("1:00", "0:59"))
    assert run_here(*command).err.startswith("3 questions about 1 clip, 2 done")
    # The same part by the flags is the same question.
    questions.write_text("id,video,question\nhalf,clips/1.mp4,Why?\n")
    assert run_here(*command, "--start", "30", "--end", "60").err.startswith("1 clip done already")


EXACT = ("--model", "mini", "--device", "cpu", "--dtype", "float32", "--frames", "4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "keys"),
    [
        (("What happens?", "--every", "1.5"), ("start", "end", "answer")),
        (("There is a blue star.", "--when"), ("answer", "when")),
    ],
)
def test_parts_and_searches_are_those_of_ask(
    flags: tuple[str, ...], keys: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "o.jsonl"
    command = ("batch", CLIP, *flags, *EXACT, "--out", out)
    assert run_here(*command).code == 0
    lines = [valid(json.loads(line)) for line in out.read_text().splitlines()]
    alone = run_here("ask", CLIP, *flags, *EXACT, "--json").objects
    assert [[line[key] for key in keys] for line in lines] == [
        [one[key] for key in keys] for one in alone
    ]
    assert len({line["key"] for line in lines}) == len(lines)
    # A table has what was found, of --when the times.
    assert run_here("convert", out, tmp_path / "o.csv").code == 0
    rows = csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text()))
    assert [row["answer"] for row in rows] == [line["answer"] for line in lines]
    # Resumed by the same command, and by no other.
    assert "done already" in run_here(*command).err
    assert "1 clip answered" in run_here("batch", CLIP, flags[0], *EXACT, "--out", out).err


def test_a_video_that_cannot_be_opened_fails_once(tmp_path: Path) -> None:
    (tmp_path / "torn.mp4").write_text("no video")
    run = run_here("batch", tmp_path, "What?", "--every", "1", *EXACT)
    assert (run.code, len(run.objects)) == (1, 1)
    assert run.object["error"]["code"] == "video_unreadable"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--every", "1", "--until", "yes"), "there is no flag --until"),
        (("--every", "0"), "--every must be longer than 0 s"),
        (("--every", "0.00001"), "parts of 1e-05 s are more than 100,000 in"),
        (("--when", "--compare"), "--compare and --when exclude each other"),
    ],
)
def test_what_parts_do_not_go_with(flags: tuple[str, ...], sentence: str) -> None:
    assert sentence in run_here("batch", CLIP, "What?", *flags).refusal

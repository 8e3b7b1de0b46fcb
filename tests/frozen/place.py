"""The folder in which commands are run, with settings of its own, and what they leave there.

In a command `< FILE` is its stdin, and ` ; ` parts commands that follow one another.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dycoke_cli.evaluation.run_record import read_record
from dycoke_cli.models import resolve
from dycoke_cli.server.local import unix_socket
from dycoke_cli.storage import cache_folder
from tests.cli.harness import ROOT, Outcome, run_here

MINI = "--model mini --device cpu --dtype float32"
"""Of each command that names no model."""

BLUE_STAR, ANNA = "What does the blue star do?", "What does Anna do?"
SRT = "1\n00:00:00,000 --> 00:00:09,000\nAnna is the red triangle.\n"
TEXTS = {
    "broken.mp4": "no video\n",
    "empty.mp4": "",
    "words.srt": SRT,
    "turn.srt": SRT,
    "options.txt": "moves up\nmoves down\n",
    "questions.txt": f"{BLUE_STAR}\nWhat digit is shown in the video?\n",
    "questions.jsonl": "".join(
        json.dumps(row) + "\n"
        for row in (
            {"id": "a", "video": "move.mp4", "question": BLUE_STAR},
            {"id": "b", "video": "turn.mp4", "question": ANNA, "start": 2, "end": "0:06"},
            {"video": "move.mp4", "question": BLUE_STAR, "end": 2},
            {"video": "broken.mp4", "question": BLUE_STAR},
        )
    ),
    "questions.csv": (
        f"id,video,question,start,end\n1,move.mp4,{BLUE_STAR},,\n2,move.mp4,{BLUE_STAR},1,3\n"
        f"3,missing.mp4,{BLUE_STAR},,\n"
    ),
    "questions.json": json.dumps(
        [
            {"video": "move.mp4", "question": BLUE_STAR, "answer": "The blue star moves up."},
            {"video": "broken.mp4", "question": BLUE_STAR, "answer": "It doesn't."},
        ]
    ),
    "unreadable.json": json.dumps([{"video": "a.mp4", "question": BLUE_STAR, "answer": "up"}]),
    "choices.json": json.dumps(
        [{"video": "a.mp4", "question": "Which?", "answer": "up", "options": ["up", "down"]}]
    ),
    "broken/a.mp4": "no video\n",
    "broken/b.mp4": "nor is this\n",
    "broken/b.srt": SRT,
    "broken.jsonl": "".join(
        json.dumps({"video": "broken/a.mp4", "question": "Why?", **more}) + "\n"
        for more in ({}, {"id": "7"}, {"start": 1}, {"start": 1, "end": "0:02"}, {"end": 2.5})
    ),
}
# Of the bundled model's files when keys were first kept: what a later edition of them changes in a
# key isn't what is kept here.
EDITION = "72a8564346feaf2af8bf95dc5a8a7d3caa1c8ebe5bf86361edcaa80c64fdf88f"
CLIPS = {"move.mp4": "move.mp4", "turn.mp4": "turn.mp4", "clips/move.mp4": "move.mp4"}
CLIPS |= {"clips/appear.mp4": "appear.mp4"}

# What a processor, a clock or a release decides: numbers, and all that has one of these names.
MEASURED = ("bytes", "certainty", "inside", "margin", "mean", "outside", "probabilities", "score")
MEASURED += ("scoring", "tokens_per_second")
OF_RELEASE = ("commits", "date", "version")
_FIGURE = re.compile(r"\d+(?:\.\d+)?(?:(?= %)| m?s(?= ·))")


@contextmanager
def place(folder: Path) -> Iterator[None]:
    """Stand in a folder that has the files of the commands."""
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name, clip in CLIPS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "sample_videos" / clip, folder / name)
    shutil.copyfile(folder / "broken.mp4", folder / "clips" / "broken.mp4")
    (folder / "pictures").mkdir()
    for number, top in enumerate((40, 30, 20, 10)):  # a blue square on black rises
        picture = Image.new("RGB", (64, 64))
        picture.paste("blue", (20, top, 36, top + 16))
        picture.save(folder / "pictures" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache_folder.ENVIRONMENT, str(folder / "own" / "cache"))
        patch.setenv(unix_socket.ENVIRONMENT, str(folder / "own" / "runtime"))
        patch.setenv("COLUMNS", "100")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(folder)
        patch.setattr(resolve, "folder_fingerprint", lambda folder: EDITION)
        yield


def run(command: str) -> list[Outcome]:
    """Run the commands of a line."""
    return [_run_one(one) for one in command.split(" ; ")]


def _run_one(command: str) -> Outcome:
    command, _, stdin = command.partition(" < ")
    words = shlex.split(command)
    if "--model" not in words:
        words += shlex.split(MINI)
    return run_here(*words, stdin=Path(stdin).read_bytes() if stdin else b"")


def printed(command: str) -> list[dict[str, Any]]:
    """Exit code and both streams of each command of a line, without what is measured."""
    in_any_order = command.startswith("batch")  # its lines come as they are answered
    return [
        {
            "code": one.code,
            "out": _lines(one.out, in_any_order),
            "err": _lines(one.err, in_any_order),
        }
        for one in run(command)
    ]


def keys(command: str) -> list[str]:
    """The keys of the lines that `batch` prints about videos that can't be read."""
    question = "" if "--questions" in command else ' "Why?"'
    (done,) = run(f"{command} --quiet{question}")
    assert done.code == 1, done.err
    return sorted(line["key"] for line in done.objects)


def setups(command: str) -> list[str]:
    """The ids of the rows that `eval` records; the keys of its answers begin with them."""
    folder = Path("own") / "evaluated" / sha256(command.encode()).hexdigest()
    run(f"{command} --quiet --out {folder}")  # no video can be read
    record = read_record(folder)
    return [row.setup.id for row in record.rows]


def _lines(text: str, in_any_order: bool) -> list[Any]:
    # A busy machine isn't timed.
    timed = ("Vision, prefill and decode ", "Seconds: ")
    # A batch tells its progress each half minute, which only a busy machine needs.
    progress = re.compile(r"\d+ of \d+ questions? · ")
    lines = text.splitlines()
    given = [line for line in lines if not line.startswith(timed) and not progress.match(line)]
    found = [json.loads(line) if line[:1] == "{" else line for line in given]
    without = [_without_figures(line) for line in found]
    return sorted(without, key=json.dumps) if in_any_order else without


def _without_figures(value: Any, measured: bool = False) -> Any:
    """The same with numbers that are measured replaced by their type, also inside sentences."""
    if isinstance(value, dict):
        return {
            key: "release"
            if key in OF_RELEASE
            else _without_figures(each, measured or key in MEASURED or key.startswith("seconds"))
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_without_figures(each, measured) for each in value]
    if isinstance(value, str):
        return _FIGURE.sub("#", value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if measured and is_number else value

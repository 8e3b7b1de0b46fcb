"""What files and arguments hold is never interpreted by a terminal, and JSON is valid Unicode."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from rich.table import Table

from dycoke_cli.cli import render
from dycoke_cli.cli.render.figures import named
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, FAKE, run_here, run_process

pytestmark = pytest.mark.usefixtures("fake")
# Bytes that aren't UTF-8, a terminal's commands in both forms, a forged line, a turned direction,
# and what isn't seen: a mark, a byte order, a tag, a line separator.
UNSEEN = "\u200e\ufeff\U000e0041\u2028"
NAME = os.fsdecode(b"a\xff\x1b]0;x\x07\n\rb\xc2\x9b31m\xe2\x80\xae") + f"{UNSEEN}.mp4"
SHOWN = "a\\xff\\x1b]0;x\\x07"
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    shutil.copy(CLIP, path)
    return path


COMMANDS = [
    ["ask", "VIDEO", "What?"],
    ["ask", "VIDEO", "What\x1b[2J?", "-q", "Why?"],
    ["ask", "VIDEO", "What?", "--frames", "0"],
    ["ask", "VIDEO.none", "What?"],
    ["ask", "VIDEO", "What?", "--model", NAME],
    ["ask", "VIDEO", "What?", "--stream", "7"],
    ["ask", "VIDEO", f"What {NAME}?"],
    ["ask", "VIDEO", "What?", NAME],
    ["ask", "VIDEO", "What?", f"--{NAME}"],
    ["ask", "VIDEO", "What?", "--frames", NAME],
    ["ask", "VIDEO", "What?", "--subtitles", NAME],
    ["ask", "VIDEO", "What?", "--subtitles", "VIDEO"],
    ["probe", "VIDEO"],
    ["probe", "VIDEO.none"],
    ["models", "info", NAME],
    ["models", "info", "FOLDER"],
    ["batch", "VIDEO.none", "What?"],
    ["batch", "FOLDER", f"What {NAME}?"],
    ["batch", "--questions", "VIDEO"],
    ["batch", "--questions", "VIDEO.none"],
    ["eval", NAME],
    [NAME],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: ascii(" ".join(command)))
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_nothing_is_sent_to_the_terminal(video: Path, command: list[str], as_json: bool) -> None:
    filled = [
        part.replace("VIDEO", str(video)).replace("FOLDER", str(video.parent)) for part in command
    ]
    if as_json and command[0] != "batch":
        filled.append("--json")
    run = run_here(*filled)
    assert not CONTROLS.search(run.out + run.err)
    assert "Traceback" not in run.err
    if "--json" in filled:
        for document in run.objects:
            json.dumps(document, ensure_ascii=False).encode()


def test_a_name_that_is_not_utf8_is_answered(video: Path, fake: Fake) -> None:
    run = run_here("ask", video, "What?", "--json")
    assert run.code == 0
    assert run.object["video"].startswith(f"{video.parent}/a\\xff\x1b]0;x\x07\n\r")
    probed = run_here("probe", video)
    assert probed.code == 0
    assert SHOWN in re.sub(r"\n +", "", probed.out)  # a narrow column breaks it


@pytest.mark.parametrize("arguments", [["What\udce4?"], ["What?", "-q", "\udcff"]])
@pytest.mark.parametrize("command", ["ask", "batch"])
def test_a_question_that_is_not_utf8_is_refused(
    command: str, arguments: list[str], fake: Fake
) -> None:
    where = CLIP if command == "ask" else CLIP.parent
    run = run_here(command, where, *arguments)
    assert (run.code, run.out) == (2, "")
    assert re.fullmatch(r"Error: the question '.*\\x..\??' isn't UTF-8 text; .*\n", run.err)
    assert not fake


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_questions_on_stdin_that_are_not_utf8_are_refused(encoding: str) -> None:
    for command, where in (("ask", CLIP), ("batch", CLIP.parent)):
        run = run_here(command, where, "-q", "-", stdin="Wä ist?\n".encode(encoding))
        assert run.code == 2
        assert run.err == "Error: the questions on stdin aren't UTF-8 text\n"


def test_a_traceback_is_shown_too() -> None:
    run = run_process(FAKE, "ask", "\x1b[2J.mp4", "What?", DYCOKE_DEBUG="1")
    assert "Traceback" in run.err
    assert "\x1b" not in run.err


def test_a_cell_of_a_table_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(f"head{UNSEEN}", title=f"title{UNSEEN}")
    table.add_row(f"{UNSEEN}\x1b]0;x\x07")
    render.to_stdout(table)
    render.to_stderr(named([("name", f"value{UNSEEN}")]))
    printed = "".join(capsys.readouterr())
    assert "title\\u200e\\ufeff\\U000e0041" in printed
    assert "value\\u200e\\ufeff\\U000e0041\\u2028" in printed
    assert not CONTROLS.search(printed)

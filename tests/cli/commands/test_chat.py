"""`dycoke chat`: what a line does, in a pipe and at a terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.cli.commands.chat import COMMANDS
from tests.cli.fake_engine import Fake, faking
from tests.cli.harness import CLIP, REAL, Outcome, run_here, run_in_terminal, run_process
from tests.pages import section

ANSWER = "a red circle moves right"


class PAGE:
    """What docs/guide.md says of it."""

    text = section("guide.md", "Chat")
    block = re.search(r"```console\n\$ printf '%s\\n' (.*) \| dycoke (.*)\n((?:.*\n)*?)```", text)
    questions = shlex.split(block[1])
    stdin = "\n".join(questions)
    command = shlex.split(block[2])
    answers = block[3]


OTHER = CLIP.with_name("turn.mp4")


def chat(*lines: str, flags: tuple[str, ...] = ("--frames", "4")) -> Outcome:
    return run_here("chat", CLIP, *flags, stdin="\n".join(lines).encode())


def test_each_question_sees_the_earlier_ones(fake: Fake) -> None:
    run = chat("What?", "", "Why?", "When?")
    assert (run.code, run.out) == (0, f"{ANSWER}\n" * 3)
    assert re.findall("^> .*", run.err, re.MULTILINE) == ["> What?", "> Why?", "> When?"]
    assert run.err.count("/stats shows more") == 3
    assert "\x1b" not in run.out + run.err
    [session] = fake
    histories = [asked["history"] for asked in session.asked]
    assert histories == [(), (("What?", ANSWER),), (("What?", ANSWER), ("Why?", ANSWER))]


def test_a_new_conversation_about_the_same_video(fake: Fake) -> None:
    chat("What?", "/clear", "Why?")
    assert [asked["history"] for asked in fake[0].asked] == [(), ()]


def test_another_method(fake: Fake) -> None:
    run = chat("/method", "What?", "/method evs:retain=0.5", "Why?", "/method evs:retain=2", "Who?")
    assert run.code == 1
    assert "Method: dycoke (ttm=True, " in run.err
    assert "Method: evs (retain=0.5" in run.err
    assert "retain must be above 0 and at most 1, not 2" in run.err
    names = [asked["method"].name for asked in fake[0].asked]
    assert names == ["dycoke", "evs", "evs"]
    assert fake[0].asked[2]["method"].retain == 0.5


def test_comparing_is_no_part_of_the_conversation(fake: Fake) -> None:
    run = chat("What?", "/compare", "/compare Where?", "Why?")
    assert run.code == 0
    assert run.err.count("With and without compression") == 2
    asked = [(one["question"], one["method"].name) for session in fake for one in session.asked]
    for question in ("What?", "Where?"):
        assert (question, "none") in asked
    assert fake[0].asked[-1]["history"] == (("What?", ANSWER),)


def test_the_figures(fake: Fake) -> None:
    run = chat("/stats", "What?", "/stats")
    assert run.code == 1
    assert "there is no answer yet" in run.err
    assert "64 from 4 frames" in run.err
    assert run.out == f"{ANSWER}\n"


def test_another_video(fake: Fake) -> None:
    run = chat(
        "What?", "/video nofile.mp4", "Why?", f"/video {OTHER}", "Who?", "/video", "/video -"
    )
    assert run.code == 1
    assert "nofile.mp4 doesn't exist" in run.err
    assert f"Now about {OTHER}" in run.err
    assert run.err.count("/video needs a file") == 2
    old, new = fake
    assert [asked["question"] for asked in old.asked] == ["What?", "Why?"]
    assert [(asked["question"], asked["history"]) for asked in new.asked] == [("Who?", ())]


def test_saved(fake: Fake, tmp_path: Path) -> None:
    lines = tmp_path / "chat.jsonl"
    run = chat("What?", f"/save {tmp_path}/a.csv", "Why?", *[f"/save {lines}"] * 2, "/save")
    assert run.code == 1
    assert "name a file that ends in .jsonl" in run.err
    assert "chat.jsonl can't be written (File exists)" in run.err
    assert [*tmp_path.iterdir()] == [lines]
    objects = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(one["schema"], one["question"]) for one in objects] == [
        (SCHEMA, "What?"),
        (SCHEMA, "Why?"),
    ]


def test_lines_that_are_no_question(fake: Fake) -> None:
    run = chat("/help", "/nosuch", "/quit", "never asked")
    assert (run.code, run.out) == (1, "")
    assert "there is no command /nosuch" in run.err
    for name in ("method", "compare", "stats", "video", "clear", "save", "quit"):
        assert f"/{name}" in run.err
    assert run_here("chat", CLIP, stdin=b"caf\xe9\n").code == 2
    assert run_here("chat", "-").code == 2


def test_one_answer_that_fails(fake: Fake) -> None:
    run = chat("What?", "memory", "Who?")
    assert (run.code, run.out) == (1, f"{ANSWER}\n" * 2)
    assert "memory ran out" in run.err
    assert fake[0].asked[-1]["history"] == (("What?", ANSWER),)


@pytest.mark.slow
def test_ctrl_c_stops_an_answer_and_not_the_chat(tmp_path: Path) -> None:
    code, terminal, _ = run_in_terminal(
        faking(pause_s=0.3),
        "chat",
        CLIP,
        "--frames",
        "2",
        interrupt_after=b"red",
        typed=b"What?\nWhy?\n/quit\n",
        environment={
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "DYCOKE_CACHE": str(tmp_path / "kept"),
        },
    )
    assert code == 0, terminal.decode()
    assert b"stopped" in terminal
    assert terminal.count(b"moves right") == 1
    history = tmp_path / "kept" / "chat_history"
    assert [line[1:] for line in history.read_text().splitlines() if line.startswith("+")] == [
        "What?",
        "Why?",
        "/quit",
    ]
    assert os.stat(history).st_mode & 0o077 == 0


@pytest.mark.extended
def test_the_command_of_the_page() -> None:
    run = run_process(REAL, *PAGE.command, stdin=PAGE.stdin.encode())
    assert (run.code, run.out, run.err) == (0, PAGE.answers, "")


def test_the_page_has_every_command() -> None:
    listed = re.findall(r"^\| `/(\w+)", PAGE.text, re.MULTILINE)
    assert listed == [*COMMANDS, "quit"]

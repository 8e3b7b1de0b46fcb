"""`main`: what goes wrong is a sentence and an exit code, and a traceback where it is wanted."""

from __future__ import annotations

import errno
import io
import sys

import pytest

from dycoke_cli.cli import output
from dycoke_cli.errors import OutputError, VideoError
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here

pytestmark = pytest.mark.usefixtures("fake")


def test_what_was_streamed_before_a_failure_stays(fake: Fake) -> None:
    fake.failure = "memory"
    fake.fail_after = 2
    run = run_here("ask", CLIP, "What?")
    assert (run.code, run.out) == (5, "a red \n")


@pytest.mark.parametrize("columns", [22, 40, 200])
def test_a_terminal_breaks_the_line_between_words(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = VideoError("/a/long/name-of-a-clip.mp4 can't be read: did you mean /a/clip.mp4?")
    output.say(said)
    assert capsys.readouterr().err == f"Error: {said}\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    output.say(said)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(lines) == f"Error: {said}"
    assert max(map(len, lines)) <= max(columns, len("/a/long/name-of-a-clip.mp4"))
    assert (len(lines) > 1) == (columns < 90)


def test_debugging_shows_where(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.failure = "bug"
    assert "DYCOKE_DEBUG=1" in run_here("ask", CLIP, "What?").err
    monkeypatch.setenv("DYCOKE_DEBUG", "1")
    for flags in ([], ["--json"]):
        run = run_here("ask", CLIP, "What?", *flags)
        assert run.code == 1
        assert "Traceback" in run.err
        assert "fake_engine.py" in run.err
        assert "Traceback" not in run.out


def test_no_room_in_an_accelerator_or_on_a_disk_and_other_trouble() -> None:
    import torch

    assert output.explain(torch.OutOfMemoryError("CUDA out of memory")).exit_code == 5
    assert output.explain(RuntimeError("MPS backend out of memory (…)")).exit_code == 5
    assert output.explain(RuntimeError("shapes differ")).exit_code == 1
    assert output.explain(OSError(errno.ENOSPC, "x")).exit_code == 6
    assert output.explain(OSError(errno.EIO, "x")).exit_code == 1


def test_closed_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    from dycoke_cli.cli.main import main

    error = io.StringIO()
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", error)
    assert main(["--version"]) == OutputError.exit_code
    assert error.getvalue() == ("Error: standard output is closed; the answer has nowhere to go\n")


def test_answer_text_ends_its_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    answer = output.AnswerText(single_line=False)
    answer.add("  ")
    answer.add(" one")
    answer.end()
    answer.abandon()
    assert capsys.readouterr().out == "one\n"

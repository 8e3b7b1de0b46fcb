"""The answer alone on stdout, everything else on stderr."""

from __future__ import annotations

import re
from unittest.mock import Mock

import pytest

from dycoke_cli.cli.commands import presenter
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here

ANSWER = "a red circle moves right\n"
NOTE = "Using the bundled demo model"
pytestmark = pytest.mark.usefixtures("fake")


def test_panel_says_what_was_left_out() -> None:
    run = run_here("ask", CLIP, "What?", "--frames", "8", "--stats", "--method", "dycoke")
    # 8 frames of 16 tokens; a window of 4 keeps 16 + 3 * int(0.3 * 16) = 28 of 64.
    for part in (
        "128 from 8 frames → 56 at prefill (44 %)",
        "36 (28 %) per step, mean over layers; 16 (12 %) in pruned",
        "14 evicted, 12 recalled",
        "LLM FLOPs",
        "tokens/s",
        "KV cache",
    ):
        assert part in run.err
    assert "56 % of visual tokens dropped" in run.err


def test_an_answer_ends_with_one_line() -> None:
    run = run_here("ask", CLIP, "What?", "-q", "Why?", "--frames", "8", "--model", "mini")
    lines = [line for line in run.err.splitlines() if not line.startswith("> ")]
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(
            r"[\d.]+ m?s · 56 % of 128 visual tokens dropped · --stats shows more", line
        )
    plain = run_here("ask", CLIP, "What?", "--method", "none", "--model", "mini")
    assert "s · no visual tokens dropped · --stats" in plain.err
    pruned = run_here("ask", CLIP, "What?", "--method", "kv", "--model", "mini")
    assert "s · decode attends to 65 % of 512 visual tokens · --stats" in pruned.err
    assert pruned.err.count("\n") == plain.err.count("\n") == 1


def test_no_escape_codes_and_no_progress_off_a_terminal() -> None:
    run = run_here("ask", CLIP, "What?", "--compare")
    assert "\x1b" not in run.out + run.err
    assert "\r" not in run.out + run.err
    assert "Encoding frame" not in run.err


def test_quiet_leaves_stderr_empty() -> None:
    run = run_here("ask", CLIP, "What?", "--quiet", "--max-tokens", "2")
    assert (run.code, run.out, run.err) == (0, "a red\n", "")


def test_that_memory_may_not_do_is_said_once_and_before_anything_runs(
    fake: Fake,
) -> None:
    sentence = "this may not fit: it needs about 19 GB, 16 GB free on cpu"
    fake.warning = sentence
    run = run_here("ask", CLIP, "What?", "-q", "Why?")
    assert run.err.count(sentence) == 1
    assert run.err.index(sentence) < run.err.index(NOTE)
    assert run_here("ask", CLIP, "What?", "--quiet").err == ""
    run = run_here("ask", CLIP, "What?", "--json")
    assert sentence in run.objects[0]["warnings"]
    assert sentence not in run.err
    fake.failure = "memory"
    assert run_here("ask", CLIP, "What?").err.count(sentence) == 1


def test_note_on_the_bundled_model_is_one_line_with_the_way_out() -> None:
    lines = run_here("ask", CLIP, "What?").err.splitlines()
    (note,) = [line for line in lines if NOTE in line]
    assert "--model llava-onevision-0.5b" in note


def test_no_note_once_a_model_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NOTE not in run_here("ask", CLIP, "What?", "--model", "mini").err
    monkeypatch.setenv("DYCOKE_MODEL", "mini")
    assert NOTE not in run_here("ask", CLIP, "What?").err


def test_several_questions_have_a_line_each_and_one_session(fake: Fake) -> None:
    run = run_here("ask", CLIP, "One?", "-q", "Two?", "--question", "Three?")
    assert run.out == ANSWER * 3
    assert [asked["question"] for asked in fake[0].asked] == ["One?", "Two?", "Three?"]
    assert len(fake) == 1
    assert "> Two?" in run.err


def test_answers_of_several_lines_and_of_none(fake: Fake) -> None:
    fake.answer = "one\ntwo three\n"
    assert run_here("ask", CLIP, "A?").out == "one\ntwo three\n"
    assert run_here("ask", CLIP, "A?", "-q", "B?").out == "one two three \n" * 2
    fake.answer = ""
    assert run_here("ask", CLIP, "A?", "-q", "B?").out == "\n\n"


def test_text_of_the_model_is_shown_and_never_interpreted(fake: Fake) -> None:
    fake.answer = "[red]x[/red] \x1b]0;title\x07 :smile: \x9b31m \u202eabc é 🎈"
    run = run_here("ask", CLIP, "[bold]What\x1b[2J?", "-q", "B", "--compare")
    shown = "[red]x[/red] \\x1b]0;title\\x07 :smile: \\x9b31m \\u202eabc é 🎈\n"
    assert run.out == shown * 2
    assert "[bold]What\\x1b[2J?" in run.err
    assert "[red]x[/red]" in run.err
    assert "\x1b" not in run.err


def test_questions_from_stdin() -> None:
    questions = "First?\n\n  Second? \r\nThïrd?"
    run = run_here("ask", CLIP, "-q", "-", stdin=questions.encode())
    assert run.out == ANSWER * 3
    assert "> Thïrd?" in run.err


def test_video_from_stdin(fake: Fake) -> None:
    run = run_here("ask", "-", "What?", "--frames", "4", stdin=CLIP.read_bytes())
    assert (run.code, run.out) == (0, ANSWER)
    assert fake[0].clip.frames.shape[0] == 4


@pytest.mark.parametrize(("seed", "drawn"), [(("--seed", "7"), [7, 7]), ((), [None, 41])])
def test_comparison_stands_side_by_side(
    fake: Fake, seed: tuple[str, ...], drawn: list[int | None]
) -> None:
    run = run_here("ask", CLIP, "What?", "--compare", "--temperature", "0.5", *seed)
    assert run.out == ANSWER
    names = [asked["method"].name for asked in fake[0].asked]
    assert names == ["dycoke", "none"]
    # Both drew with the same seed.
    assert [asked["seed"] for asked in fake[0].asked] == drawn
    (row,) = [line for line in run.err.splitlines() if "Visual tokens at prefill" in line]
    assert row.split()[-4:] == ["224", "512", "44", "%"]
    # Whoever compares wants the figures, too.
    assert "224 at prefill (44 %)" in run.err
    assert "--stats" not in run.err


def test_what_is_compared_warms_up_and_is_encoded_once(fake: Fake) -> None:
    assert run_here("ask", CLIP, "A?", "-q", "B?", "--compare").code == 0
    asked, warming = fake
    assert len(asked.asked) == 4
    assert [(one["method"].name, one["max_tokens"]) for one in warming.asked] == [
        ("dycoke", 4),
        ("none", 4),
    ]
    # It must be short, and leave the video to those that are measured.
    assert warming.clip.frames.shape[0] == len(warming.clip.timestamps_s) == 4
    assert asked.clip.frames.shape[0] == 32
    assert not warming.reuse
    fake.clear()
    assert run_here("ask", CLIP, "A?").code == 0
    assert len(fake) == 1


def test_questions_follow_up_on_each_other(fake: Fake) -> None:
    questions = ("-q", "A?", "-q", "B?", "-q", "C?")
    run = run_here("ask", CLIP, *questions, "--follow-up", "--compare")
    assert run.code == 0
    turns = (("A?", ANSWER.strip()), ("B?", ANSWER.strip()))
    # Both of a comparison see the same.
    assert [one["history"] for one in fake[0].asked] == [(), (), turns[:1], turns[:1], turns, turns]
    fake.clear()
    run_here("ask", CLIP, *questions)
    assert [one["history"] for one in fake[0].asked] == [(), (), ()]
    run = run_here("ask", CLIP, "A?", "--follow-up")
    assert "--follow-up needs two questions or more" in run.refusal


def test_the_panel_has_what_was_waited_for_and_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Five seconds go by before each look at the clock: at the start, at the end of an answer, and
    # when its figures have been shown.
    clock = Mock(monotonic=Mock(side_effect=range(100, 200, 5)))
    monkeypatch.setattr(presenter, "time", clock)
    run = run_here("ask", CLIP, "A?", "-q", "B?", "--stats")
    found = re.findall(r"Time +5\.00 s: (.*?) *│", run.err)
    assert len(found) == 2
    assert "warm-up" not in run.err
    for parts in found:
        assert sum(map(float, re.findall(r"[\d.]+", parts))) == pytest.approx(5, abs=0.02)


def test_warning_of_the_video_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CLIP.read_bytes()
    run = run_here("ask", "-", "A?", "-q", "B?", "--fps", "50", "--max-frames", "4", stdin=whole)
    assert run.err.count("Warning: --fps 50 would take") == 1

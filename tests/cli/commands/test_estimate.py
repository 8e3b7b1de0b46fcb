"""`--estimate` of a folder: what is left, its time and memory; and the words of an estimate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.cli.commands import estimate
from dycoke_cli.cli.commands.estimate import spelled
from dycoke_cli.cli.render.units import size
from dycoke_cli.engine.memory import cost, cost_model
from tests.cli.harness import ROOT, Outcome, run_here

SAMPLES = ROOT / "sample_videos"
MINI = ("--model", "mini", "--device", "cpu", "--estimate")
RATE = 1e9


@pytest.fixture(autouse=True)
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products aren't timed, and the machine has nothing else to do."""
    monkeypatch.setattr(cost_model, "product_rate", lambda *_: RATE)
    monkeypatch.setattr(cost, "is_overloaded", lambda: False)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("move.mp4", "web.webm", "large.mp4"):
        shutil.copy(SAMPLES / name, folder)
    return folder


def batch(*arguments: str | Path) -> Outcome:
    return run_here("batch", *arguments, *MINI)


def of_one(*arguments: str | Path) -> dict[str, Any]:
    return run_here("ask", *arguments, *MINI, "--json").object


@pytest.mark.parametrize("flags", [(), ("--yes-no",), ("--frames", "4", "--workers", "2")])
def test_a_folder_takes_the_sum_of_its_clips(clips: Path, flags: tuple[str, ...]) -> None:
    """The questions about a clip share what is encoded, as in `ask`."""
    about = ("-q", "What happens?", "-q", "Why?", *flags)
    alone = [flag for flag in flags if flag not in ("--workers", "2")]
    each = [of_one(clip, "What happens?", "-q", "Why?", *alone) for clip in clips.iterdir()]
    run = batch(clips, *about)
    assert (run.code, run.err) == (0, "")
    largest = max(each, key=lambda found: found["bytes"]["peak"])
    assert run.out.startswith(
        f"6 questions about 3 clips left: about {spelled(sum(found['seconds'] for found in each))} "
        f"in one process, without loading. Peak memory: {size(largest['bytes']['peak'])} for "
        f"{largest['video']}. Fits main memory ("
    )


def test_a_typed_answer_takes_no_tokens_but_those_of_the_prompt() -> None:
    text, typed = (of_one(SAMPLES / "move.mp4", "Is it?", *flags) for flags in ((), ("--yes-no",)))
    assert (text["max_tokens"], typed["max_tokens"]) == (128, 0)
    assert typed["flops"]["decode"] == 0 < text["flops"]["decode"]
    assert typed["context"]["needed"] == text["context"]["needed"] - 128
    assert typed["seconds"] < text["seconds"]


def test_what_has_an_answer_is_not_counted_again(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    words = (clips, "What happens?", "--out", out, "--frames", "4", "--no-server")
    assert batch(*words).out.startswith("3 clips left: about ")
    assert not out.exists()
    assert run_here("batch", clips / "move.mp4", *words[1:], *MINI[:-1]).code == 0
    before = out.read_bytes()
    assert batch(*words).out.startswith("2 clips left: about ")
    assert batch(clips / "move.mp4", *words[1:]).out == "0 clips left.\n"
    assert batch(*words[:1], "Why?", *words[2:]).out.startswith("3 clips left: about ")
    assert out.read_bytes() == before
    assert {*tmp_path.iterdir()} >= {out, clips}


def test_a_clip_that_fails_is_named(clips: Path) -> None:
    whole = batch(clips, "What?").out
    (clips / "torn.mp4").write_bytes(b"\0" * 999)
    run = batch(clips, "What?")
    assert run.code == 0
    assert run.err.startswith(f"Failed: {clips / 'torn.mp4'} ")
    assert run.err.count("\n") == 1
    expected = whole.replace("3 clips left", "4 clips left, 1 of which will fail")
    assert run.out.rpartition("(")[0] == expected.rpartition("(")[0]  # what is free changes
    run = batch(clips / "torn.mp4", "What?", "-q", "Why?")
    assert run.out == "2 questions about 1 clip left, 2 of which will fail.\n"


def test_a_busy_machine_and_an_unknown_rate_are_told(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "is_overloaded", lambda: True)
    assert "without loading (the machine is busy now, and" in batch(clips, "What?").out
    monkeypatch.setattr(cost_model, "product_rate", lambda *_: None)
    assert batch(clips, "What?").out.startswith("3 clips left: how long isn't known. Peak memory: ")


def test_captions_that_are_there_are_not_counted(clips: Path) -> None:
    words = ("caption", clips, "--prompt", "What happens?")
    assert run_here(*words, *MINI).out.startswith("3 clips left: about ")
    (clips / "move.txt").write_text("mine")
    run = run_here(*words, *MINI)
    assert run.out.startswith("2 clips left: about ")
    # An edited one stays, unless it is to be replaced.
    assert run_here(*words, *MINI, "--overwrite").out.startswith("2 clips left: about ")
    every = run_here(*words, *MINI, "--overwrite-edited")
    assert every.out.startswith("3 clips left: about ")
    for name in ("web.txt", "large.txt"):
        (clips / name).write_text("mine")
    assert run_here(*words, *MINI).out == "0 clips left.\n"
    assert {path.read_text() for path in clips.glob("*.txt")} == {"mine"}


@pytest.mark.parametrize(
    "flags",
    ["--compare", "--server URL", "--subtitles auto", "--every 2s", "--when", "--engine ray"],
)
def test_what_an_estimate_does_not_know_is_refused(clips: Path, flags: str) -> None:
    run = run_here("batch", clips, "What?", *flags.split(), "--estimate")
    assert (run.code, run.out) == (2, "")
    named = run.refusal.removeprefix("Error: ").partition(" exclude each other")[0]
    assert {word.split()[0] for word in named.split(" and ")} == {"--estimate", flags.split()[0]}


def test_an_unknown_model_is_refused_once(clips: Path) -> None:
    run = run_here("batch", clips, "What?", "--model", "minni", "--estimate")
    assert (run.code, run.out) == (4, "")
    assert run.err.splitlines()[-1].startswith("Error: there is no model 'minni'")
    assert "Failed" not in run.err


def test_an_interrupt_ends_it_without_opening_the_clips_that_are_left(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def plan(video: str, request: Any) -> Any:
        opened.append(video)
        return planned(video, request)

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    planned = estimate.plan_of_video
    monkeypatch.setattr(estimate, "plan_of_video", plan)
    monkeypatch.setattr(estimate, "usual_decoders", lambda: 1)
    monkeypatch.setattr(estimate, "cost_of_video", interrupt)
    for number in range(40):
        shutil.copy(SAMPLES / "move.mp4", clips / f"{number}.mp4")
    run = batch(clips, "What?")
    assert (run.code, run.out) == (130, "")
    assert len(opened) < 43


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (45, "45 s"), (89.4, "89 s"), (720, "12 min"), (8640, "2.4 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert spelled(seconds) == words

"""`--video-tokens` in batch, eval, serve and estimates: what `ask` does, with the bundled model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.cli.commands.estimate import cost_of_frames
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import CLIP, Outcome, run_here
from tests.documents import valid

pytestmark = pytest.mark.slow
MINI = ("--model", "mini", "--device", "cpu")
LONG = ("--fps", "10", "--max-tokens", "6", *MINI)  # 40 frames: windows of 32 and of 8
BUDGET = ("--video-tokens", "60")
QUESTION = "What happens?"


def ask(*flags: str) -> dict[str, Any]:
    return run_here("ask", CLIP, QUESTION, *LONG, *flags, "--json").object


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, and one that is broken."""
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(CLIP, clips / name)
    (clips / "broken.mp4").write_bytes(CLIP.read_bytes()[:3000])
    return clips


def batch(folder: Path, *flags: str) -> Outcome:
    return run_here("batch", folder, QUESTION, *LONG, *flags)


def test_a_shorter_video_of_a_run_has_the_positions_of_the_checkpoint(folder: Path) -> None:
    """Each video by its own length: of one window here, of two there."""
    questions = folder / "questions.jsonl"
    rows = [
        {"video": "a.mp4", "question": QUESTION},
        {"video": "b.mp4", "question": QUESTION, "start": 1, "end": 3},
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_here("batch", "--questions", questions, *LONG, *BUDGET)
    found = {Path(one["video"]).name: one for one in run.objects}
    for name, count, positions in (("a.mp4", 2, "renumbered"), ("b.mp4", 1, "kept")):
        assert found[name]["windows"]["count"] == count
        assert found[name]["windows"]["positions"] == positions
        assert found[name]["method"]["positions"] == positions


@pytest.mark.parametrize(
    ("command", "flags", "error"),
    [
        ("batch", ["--method", "flashvid"], "the method flashvid needs the whole video at once"),
        ("batch", ["--video-tokens", "0"], "--video-tokens must be 1 or more, not 0"),
        ("eval", ["--methods", "none,maxmin"], "the method maxmin needs the whole video at once"),
        ("serve", ["--method", "fastv"], "the method fastv needs the whole video at once"),
        ("ask", ["--estimate", "--method", "maxmin"], "the method maxmin needs the whole video"),
    ],
)
def test_what_windows_cannot_do_is_refused(command: str, flags: list[str], error: str) -> None:
    about = {"batch": [CLIP, "?"], "ask": [CLIP, "?"], "eval": ["shapes", "--limit", "2"]}
    run = run_here(command, *about.get(command, []), *BUDGET, *flags, *MINI)
    assert re.search(error, run.refusal)
    assert "Traceback" not in run.err


@pytest.mark.extended
def test_eval_asks_each_row_of_the_windows_that_it_keeps(samples: None, tmp_path: Path) -> None:
    flags = ("--split", "validation", "--limit", "2", *LONG, "--json", "--out", tmp_path)
    methods = ("--methods", "none,dycoke-plus,no-video")

    def rows(*budget: str) -> dict[str, Any]:
        run = run_here("eval", "samples", *flags, *methods, *budget)
        assert run.code == 0, run.err
        return {row["spec"]: row for row in run.object["rows"]}

    found = rows(*BUDGET)
    answers = (tmp_path / "answers.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in answers]
    kept = [line["visual_kept"] for line in lines if line.get("visual")]
    assert len(kept) == 4  # two videos by two methods
    assert set(kept) == {60}
    assert found["no-video"]["questions"] == found["none"]["questions"] == 2
    again = rows(*BUDGET)
    assert (tmp_path / "answers.jsonl").read_text().splitlines() == answers
    assert again["none"] == found["none"]
    rows("--video-tokens", "40")
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) > len(answers)


@pytest.mark.parametrize("method", ["dycoke-plus", "none", "dycoke", "evs"])
def test_an_estimate_has_the_windows_and_tokens_of_the_answer(method: str) -> None:
    asked = ask(*BUDGET, "--method", method)
    run = run_here(
        "ask", CLIP, QUESTION, *LONG, *BUDGET, "--method", method, "--estimate", "--json"
    )
    estimated = valid(run.object, "estimate", "estimate")
    assert estimated["windows"] == asked["windows"]
    assert estimated["method"].get("positions") == asked["method"].get("positions")
    for key in ("visual", "visual_kept"):
        assert estimated["tokens"][key] == asked["tokens"][key]
    assert estimated["context"]["needed"] < 200
    shown = run_here("ask", CLIP, QUESTION, *LONG, *BUDGET, "--method", method, "--estimate").out
    kept = asked["windows"]["visual_kept"]
    assert f"Read in 2 windows of 32 frames, which keep {kept} tokens; of these at most 60" in (
        " ".join(shown.split())
    )


def test_an_estimate_of_what_does_not_fit_is_of_the_windows_that_ask_reads() -> None:
    too_many = ("--max-tokens", "1800", "--method", "none")
    asked = ask(*too_many)["windows"]
    estimated = run_here("ask", CLIP, QUESTION, *LONG, *too_many, "--estimate", "--json").object
    assert estimated["context"]["fits"]
    assert asked["count"] == 2
    assert estimated["windows"] | {"video_tokens": 0} == asked | {"video_tokens": 0}
    # The text of an estimate is assumed.
    assert estimated["windows"]["video_tokens"] == pytest.approx(asked["video_tokens"], abs=40)


def test_the_estimated_peak_hardly_grows_with_the_length() -> None:
    """An hour takes what two windows take, where all frames at once take far more."""

    def peaks(seconds: int) -> tuple[int, int]:
        request = Request(
            "llava-onevision-7b",
            LoadOptions(device="cpu", dtype="bfloat16"),
            Sampling(),
            DyCokePlus(),
            GenerationOptions(),
            video_tokens=4096,
        )
        times = tuple(map(float, range(seconds)))
        found = cost_of_frames(request, seconds, 720, 1280, times_s=times)
        assert found.tokens.visual_kept == 4096
        return found.bytes.peak, found.bytes.peak_uncompressed

    (short, _), (hour, at_once) = peaks(128), peaks(3600)
    assert short < hour < 1.05 * short
    assert at_once > 2 * hour

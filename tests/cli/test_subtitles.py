"""`--subtitles` of ask and batch: from a file to the prompt, to a line of results, to an error."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here
from tests.documents import valid
from tests.runs.pretended import Pretended, make_clips

ANNA = "1\n00:00:00,000 --> 00:00:09,000\n<i>Anna</i> is the {thing}.\n"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return Path(shutil.copy(CLIP, tmp_path / "v.mp4"))


def test_the_session_gets_the_lines_of_a_file(video: Path, tmp_path: Path, fake: Fake) -> None:
    (tmp_path / "s.srt").write_text(ANNA.format(thing="blue star"))
    assert run_here("ask", video, "What?", "--subtitles", tmp_path / "s.srt").code == 0
    assert [line.text for line in fake[0].clip.subtitles.lines] == ["Anna is the blue star."]
    assert fake[0].asked[0]["question"] == "What?"
    run_here("ask", video, "What?")
    assert fake[1].clip.subtitles is None
    (tmp_path / "v.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:02.000\nbeside\n")
    run_here("ask", video, "What?", "--subtitles", "auto", "--start", "1")
    assert [line.text for line in fake[2].clip.subtitles.lines] == ["beside"]
    run = run_here("ask", video, "What?", "--subtitles", "auto", "--start", "3")
    assert fake[3].clip.subtitles.lines == ()
    assert "is shown at a sampled frame" in run.err


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("auto", "has no subtitles: no file of its name (.srt, .vtt, .ass, .ssa) beside it"),
        ("missing.srt", "--subtitles missing.srt isn't a file"),
        ("VIDEO", "it is no SubRip, WebVTT or ASS file"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_loads(
    flag: str, sentence: str, video: Path, fake: Fake
) -> None:
    fake.failure = "model"
    run = run_here("ask", video, "What?", "--subtitles", flag.replace("VIDEO", str(video)))
    assert sentence in run.refusal
    assert len(run.err.splitlines()) == 1


def test_an_estimate_refuses_what_it_cant_count(video: Path) -> None:
    run = run_here("ask", video, "What?", "--estimate", "--subtitles", "auto")
    assert "--subtitles and --estimate exclude each other" in run.refusal


def test_a_batch_asks_anew_when_subtitles_changed(engine: Pretended, tmp_path: Path) -> None:
    clips, out = make_clips(tmp_path / "clips", "1.mp4", "2.mp4"), tmp_path / "out.jsonl"

    def asked(*flags: str) -> list[str]:
        engine.asked.clear()
        run = run_here("batch", clips, "What?", "--model", "mini", "--out", out, *flags)
        assert run.code == 0, run.err
        return [name for name, _ in engine.asked]

    assert asked() == ["1.mp4", "2.mp4"]
    assert asked() == []
    assert asked("--subtitles", "auto") == ["1.mp4", "2.mp4"]
    assert asked("--subtitles", "auto") == []
    (clips / "2.srt").write_text(ANNA.format(thing="blue star"))
    assert asked("--subtitles", "auto") == ["2.mp4"]
    (clips / "2.srt").write_text(ANNA.format(thing="red star"))
    assert asked("--subtitles", "auto") == ["2.mp4"]
    assert asked("--subtitles", "auto") == []
    (clips / "2.srt").unlink()
    assert asked("--subtitles", "auto") == []
    assert asked() == []


def test_a_file_is_for_one_video(engine: Pretended, tmp_path: Path) -> None:
    clips, file = make_clips(tmp_path / "clips", "1.mp4", "2.mp4"), tmp_path / "s.srt"
    file.write_text(ANNA.format(thing="blue star"))
    run = run_here("batch", clips, "What?", "--subtitles", file)
    assert run.code == 2
    assert (
        "belongs to one video, and there are 2: --subtitles auto finds the file of each" in run.err
    )
    run = run_here("batch", clips / "1.mp4", "What?", "--subtitles", "none.srt")
    assert "none.srt isn't a file" in run.refusal
    assert run_here("batch", clips / "1.mp4", "What?", "--subtitles", file).code == 0
    assert len(engine.asked) == 1


def documents(*arguments: Any) -> list[dict[str, Any]]:
    run = run_here(*arguments, "--model", "mini", "--device", "cpu", "--method", "none", "--quiet")
    return run.objects


@pytest.mark.extended
def test_a_batch_finds_those_of_each_video(video: Path, tmp_path: Path) -> None:
    """One has a file, one has none, and that of one is broken."""
    for name in ("none.mp4", "broken.mp4"):
        shutil.copy(video, tmp_path / name)
    (tmp_path / "v.srt").write_text(ANNA.format(thing="blue star"))
    (tmp_path / "broken.srt").write_text("nothing")
    lines = documents("batch", tmp_path, "What does Anna do?", "--subtitles", "auto")
    by_name = {Path(line["video"]).name: valid(line, "batch") for line in lines}
    assert by_name["v.mp4"]["answer"] == "The blue star moves up."
    assert by_name["v.mp4"]["subtitles"] == {"source": str(tmp_path / "v.srt"), "lines": 1}
    assert "subtitles" not in by_name["none.mp4"]
    assert "answered without them" in by_name["none.mp4"]["warnings"][0]
    assert "broken.srt can't be read" in by_name["broken.mp4"]["error"]["message"]

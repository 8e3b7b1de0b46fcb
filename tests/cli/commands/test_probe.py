"""`dycoke probe`: what would be read, without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.harness import CLIP, ROOT, run_here


def test_what_would_be_read() -> None:
    run = run_here("probe", CLIP, "--frames", "8")
    assert (run.code, run.err) == (0, "")
    rows = {line[:16].strip(): line[16:].strip() for line in run.out.splitlines()}
    assert rows["Video"] == str(CLIP)
    assert rows["Stream"] == "0 (h264)"
    assert rows["Frames sampled"].startswith("8, at 0.00 ")
    assert rows["Visual tokens"] == "128 for mini (8 × 16) → 56 after TTM at K=0.7 (44 %)"


def test_numbers_as_json() -> None:
    document = run_here(
        "probe", CLIP, "--frames", "32", "--model", "llava-onevision-0.5b", "--json"
    ).object
    assert document["schema"] == "dycoke.probe/1"
    assert document["frames"]["count"] == len(document["frames"]["timestamps_s"])
    count, tokens = document["frames"]["count"], document["tokens"]
    assert tokens["visual"] == count * 196
    # Windows of 4 keep one frame whole and int(0.3 * 196) = 58 of each other.
    assert tokens["visual_kept"] == sum(58 if frame % 4 else 196 for frame in range(count))
    assert document["info"]["codec"] == "h264"


def test_sampling_flags() -> None:
    document = run_here("probe", CLIP, "--fps", "2", "--start", "1", "--json").object
    assert document["frames"]["timestamps_s"] == pytest.approx(
        [1.0, 1.5, 2.0, 2.5, 3.0, 3.5], abs=0.13
    )


def test_video_from_stdin() -> None:
    run = run_here("probe", "-", "--json", stdin=CLIP.read_bytes())
    assert (run.code, run.object["video"]) == (0, "-")


def test_many_times_are_shortened(tmp_path: Path) -> None:
    run = run_here("probe", ROOT / "sample_videos" / "minute.mp4", "--frames", "60")
    assert " … " in run.out


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--frames", "0"], 2, "--frames must be 1 or more, not 0"),
        (["--model", "mimi"], 4, "did you mean mini?"),
        (["--stream", "7"], 2, "stream"),
    ],
)
def test_errors(flags: list[str], code: int, sentence: str) -> None:
    run = run_here("probe", CLIP, *flags)
    assert (run.code, run.out) == (code, "")
    assert sentence in run.err
    document = run_here("probe", CLIP, *flags, "--json").object
    assert sentence in document["error"]["message"]
    assert document["schema"] == "dycoke.probe/1"

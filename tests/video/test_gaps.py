"""Videos with long stretches without a frame: as many frames as asked for, from all that has some.

Independent of the planning: which frames may come follows from the times that the clip was written
with, and what is even from the distances between them.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.sampling import Sampling
from tests.marks import EXTENDED
from tests.video.clips import CodedClip, Recipe, numbers_in
from tests.video.conftest import MakeClip
from tests.video.inside import plan, read

HOUR = 3_600_000


def burst(start_ms: int, frames: int = 50, step_ms: int = 40) -> tuple[int, ...]:
    return tuple(range(start_ms, start_ms + frames * step_ms, step_ms))


TIMES = {
    "an hour": (*burst(0), *burst(HOUR)),
    "gaps of several lengths": (
        *burst(0, 20),
        *burst(9_000),
        *burst(2 * HOUR, 30),
        *burst(3 * HOUR, 4),
    ),
    "one frame, then all": (0, *burst(HOUR, 99)),
    "all, then one frame": (*burst(0, 99), HOUR),
    "two rates": (*burst(0, 60, 1000), *burst(HOUR, 200, 40)),
    "single frames": tuple(1000 * number**3 for number in range(40)),
}
RECIPES = {
    f"{name}, {suffix}": Recipe(suffix=suffix, codec="mpeg4", times_ms=times)
    for name, times in TIMES.items()
    for suffix in (".mkv", ".mp4")
}
RECIPES["h264"] = Recipe(times_ms=TIMES["an hour"], options=(("preset", "ultrafast"),))


@pytest.fixture(params=list(RECIPES))
def coded(request: pytest.FixtureRequest, make_clip: MakeClip) -> CodedClip:
    return make_clip(RECIPES[request.param])


def said(clip: Clip) -> list[str]:
    return [warning for warning in clip.warnings if "s without a frame" in warning]


@pytest.mark.parametrize("frames", [5, 32, *(pytest.param(n, marks=EXTENDED) for n in (1, 2, 16))])
def test_as_many_frames_as_asked_for(coded: CodedClip, frames: int) -> None:
    clip = read(coded.path, Sampling(frames=frames))
    numbers = numbers_in(clip.frames)
    assert len(numbers) == frames
    np.testing.assert_allclose(clip.timestamps_s, [coded.times_s[i] for i in numbers], atol=0.0011)
    if frames == 1:
        return
    # Those that are nearest to evenly spaced times, or else evenly spaced ones by number.
    nearest = sorted({coded.nearest(time) for time in coded.evenly(frames)})
    evenly = np.linspace(0, len(coded.times_s) - 1, frames).round().tolist()
    assert numbers == (nearest if len(nearest) == frames else evenly)
    assert len(said(clip)) == int(len(nearest) < frames)
    assert len(clip.warnings) == len(said(clip))


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
def test_a_sandboxed_process_spreads_them_as_well(make_clip: MakeClip) -> None:
    """What it would import then is out of its reach."""
    path = make_clip(RECIPES["an hour, .mkv"]).path
    with Decoder() as decoder:
        clip = decoder.read(str(path), Sampling(frames=32))
    assert clip.timestamps_s == read(path, Sampling(frames=32)).timestamps_s


def test_of_a_part_only_its_frames(make_clip: MakeClip) -> None:
    coded = make_clip(RECIPES["an hour, .mkv"])
    for start, end, inside in ((1.0, 3601.0, range(25, 75)), (1.0, 1800.0, range(25, 50))):
        clip = read(coded.path, Sampling(frames=12, start_s=start, end_s=end))
        numbers = numbers_in(clip.frames)
        assert len(numbers) == 12
        assert {*numbers} <= {*inside}
        assert len(said(clip)) == 1
        # More than there are: all of them, and nothing to say.
        clip = read(coded.path, Sampling(frames=60, start_s=start, end_s=end))
        assert numbers_in(clip.frames) == list(inside)
        assert not clip.warnings


def test_a_rate_counts_frames_that_are_there(make_clip: MakeClip) -> None:
    """Nearest to 0, 0.5, … s are 4 frames of each burst, of those up to 1.96 s, and 1 behind it."""
    coded = make_clip(RECIPES["an hour, .mkv"])
    wanted = np.arange(0, 3602, 0.5)
    nearest = sorted({coded.nearest(float(time)) for time in (*wanted[:8], *wanted[7196:7204])})
    nearest = sorted({*nearest, 50})
    for most in (None, len(nearest), 1000):
        clip = read(coded.path, Sampling(fps=2, max_frames=most))
        assert numbers_in(clip.frames) == nearest
        assert not clip.warnings
    clip = read(coded.path, Sampling(fps=2, max_frames=6))
    assert len(clip.frames) == 6
    assert {number < 50 for number in numbers_in(clip.frames)} == {True, False}
    first, second = clip.warnings
    assert first.startswith(f"--fps 2 would take {len(nearest)} frames: the 6 that --max-frames")
    assert "s without a frame: the 6 frames" in second


def test_a_rate_isnt_refused_for_times_without_frames(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = make_clip(RECIPES["an hour, .mkv"])
    assert numbers_in(read(coded.path, Sampling(fps=30)).frames) == list(range(100))
    monkeypatch.setattr("dycoke_cli.video.limits.MAX_CLIP_BYTES", 20 * 64 * 48 * 3)
    assert len(plan(coded.path, Sampling(fps=2)).times_s) <= 10
    with Decoder() as decoder, pytest.raises(VideoError, match="or --max-frames to 20"):
        decoder.read(str(coded.path), Sampling(fps=25))
    monkeypatch.setattr("dycoke_cli.video.planning.MAX_WANTED", 50)
    monkeypatch.setattr("dycoke_cli.video.sampling.MAX_WANTED", 50)
    with pytest.raises(UsageError, match="--fps 25 would take 90,050 frames, the limit is 50"):
        plan(coded.path, Sampling(fps=25))

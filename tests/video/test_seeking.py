"""A long video costs no more than the parts around the wanted frames."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from dycoke_cli.video import Sampling, read, source
from tests.video.clips import Recipe, numbers_in
from tests.video.conftest import MakeClip

HALF_AN_HOUR = Recipe(
    codec="mpeg4", frames=9000, rate=5, gop=50, options=(("qscale", "31"), ("sc_threshold", "0"))
)
HALF_AN_HOUR_MKV = Recipe(
    suffix=".mkv", codec="mpeg4", frames=9000, rate=5, gop=50, options=(("qscale", "31"),)
)
ONE_KEYFRAME = Recipe(frames=600, rate=5, gop=100_000, options=(("sc_threshold", "0"),))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[source.VideoSource]]:
    """The sources that were opened, for their count of decoded packets."""
    opened: list[source.VideoSource] = []
    original = source.VideoSource._prepare_decoder

    def note(self: source.VideoSource) -> None:
        if self not in opened:
            opened.append(self)
        original(self)

    monkeypatch.setattr(source.VideoSource, "_prepare_decoder", note)
    return opened


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("recipe", [HALF_AN_HOUR, HALF_AN_HOUR_MKV], ids=["mp4", "mkv"])
def test_few_frames_of_a_long_video(
    make_clip: MakeClip, decoded: list[source.VideoSource], recipe: Recipe
) -> None:
    coded = make_clip(recipe)
    clip = read(coded.path, Sampling(frames=8))
    wanted = np.linspace(0, coded.times_s[-1], 8)
    assert numbers_in(clip.frames) == [coded.nearest(time) for time in wanted]
    # At most one group of 50 for each of them, and some for the decoder to fill up.
    assert decoded[0].packets_decoded <= 8 * 55
    assert coded.times_s[-1] == 1799.8


def test_one_late_frame_of_a_long_video(
    make_clip: MakeClip, decoded: list[source.VideoSource]
) -> None:
    coded = make_clip(HALF_AN_HOUR)
    clip = read(coded.path, Sampling(frames=1, start_s=1700.0, end_s=1700.2))
    assert numbers_in(clip.frames) == [8500]
    assert decoded[0].packets_decoded <= 60


def test_useless_seeks_are_not_repeated(
    make_clip: MakeClip, decoded: list[source.VideoSource]
) -> None:
    coded = make_clip(ONE_KEYFRAME)
    clip = read(coded.path, Sampling(frames=20))
    wanted = np.linspace(0, coded.times_s[-1], 20)
    assert numbers_in(clip.frames) == [coded.nearest(time) for time in wanted]
    # One pass is 600; what seeking back to the only keyframe costs stays below another.
    assert decoded[0].packets_decoded <= 900


def test_failing_seeks_fall_back_to_one_pass(
    make_clip: MakeClip, decoded: list[source.VideoSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = make_clip(Recipe())
    monkeypatch.setattr(source.VideoSource, "seek", lambda self, time_s: None)
    clip = read(coded.path, Sampling(frames=3))
    assert numbers_in(clip.frames) == [coded.nearest(time) for time in (0, 0.98, 1.96)]
    assert decoded[0].packets_decoded <= 2 * 50 + 10


def test_memory_doesnt_grow_with_the_video(make_clip: MakeClip) -> None:
    peaks = []
    for recipe in (Recipe(codec="mpeg4", frames=300, rate=5, gop=50), HALF_AN_HOUR):
        coded = make_clip(recipe)
        tracemalloc.start()
        read(coded.path, Sampling(frames=16))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


def test_progress_counts_up_to_the_plan(make_clip: MakeClip) -> None:
    steps: list[tuple[int, int]] = []
    read(make_clip(Recipe()).path, Sampling(frames=4), on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]

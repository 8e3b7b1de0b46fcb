"""A long video costs no more than the parts around the wanted frames."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dycoke_cli.video import source
from dycoke_cli.video.decoder_process import Seeker
from dycoke_cli.video.sampling import Sampling
from tests.marks import EXTENDED
from tests.video.clips import Recipe, numbers_in
from tests.video.conftest import MakeClip
from tests.video.inside import open_video, read

TEN_MINUTES = Recipe(
    codec="mpeg4", frames=3000, rate=5, gop=50, options=(("qscale", "31"), ("sc_threshold", "0"))
)
ONE_KEYFRAME = Recipe(frames=600, rate=5, gop=100_000, options=(("sc_threshold", "0"),))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The packets that were decoded."""
    packets: list[Any] = []
    original = source.VideoSource._decode

    def note(self: source.VideoSource, packet: Any) -> Iterator[source.Picture]:
        packets.append(packet)
        return original(self, packet)

    monkeypatch.setattr(source.VideoSource, "_decode", note)
    return packets


@pytest.mark.parametrize(
    ("recipe", "frames", "most"),
    [
        # At most one group of 50 for each of them, and some for the decoder to fill up.
        (TEN_MINUTES, 8, 8 * 55),
        pytest.param(replace(TEN_MINUTES, suffix=".mkv"), 8, 8 * 55, marks=EXTENDED),
        # Useless seeks aren't repeated: one pass is 600; what seeking back to the only keyframe
        # costs stays below another.
        (ONE_KEYFRAME, 20, 900),
    ],
    ids=["mp4", "mkv", "one keyframe"],
)
def test_few_frames_of_a_long_video(
    make_clip: MakeClip, decoded: list[Any], recipe: Recipe, frames: int, most: int
) -> None:
    coded = make_clip(recipe)
    clip = read(coded.path, Sampling(frames=frames))
    wanted = np.linspace(0, coded.times_s[-1], frames)
    assert numbers_in(clip.frames) == [coded.nearest(time) for time in wanted]
    assert len(decoded) <= most


def test_one_late_frame_of_a_long_video(make_clip: MakeClip, decoded: list[Any]) -> None:
    coded = make_clip(TEN_MINUTES)
    clip = read(coded.path, Sampling(frames=1, start_s=500.0, end_s=500.2))
    assert numbers_in(clip.frames) == [2500]
    assert len(decoded) <= 60


def test_failing_seeks_fall_back_to_one_pass(
    make_clip: MakeClip, decoded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = make_clip(Recipe())
    monkeypatch.setattr(source.VideoSource, "_seek_to", lambda self, keyframe_s: False)
    clip = read(coded.path, Sampling(frames=3))
    assert numbers_in(clip.frames) == [coded.nearest(time) for time in (0, 0.98, 1.96)]
    assert len(decoded) <= 2 * 50 + 10


def test_memory_doesnt_grow_with_the_video(make_clip: MakeClip) -> None:
    peaks = []
    for recipe in (replace(TEN_MINUTES, frames=100), TEN_MINUTES):
        coded = make_clip(recipe)
        tracemalloc.start()
        read(coded.path, Sampling(frames=16))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The index has some numbers of 8 bytes for each of 2,900 more frames.
    assert peaks[1] < peaks[0] + 100_000 + 5 * 8 * 2900


def test_progress_counts_up_to_the_plan(make_clip: MakeClip) -> None:
    steps: list[tuple[int, int]] = []
    read(make_clip(Recipe()).path, Sampling(frames=4), on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def with_b_frames(path: Path, times: list[int], options: dict[str, str]) -> None:
    """A clip of moving noise with frames at these milliseconds; of four, three are B-frames."""
    rng = np.random.default_rng(0)
    field = rng.integers(0, 256, (96, 96 + len(times), 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width = stream.height = 96
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(field[:, number : number + 96].copy(), "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


EVENLY = [40 * number for number in range(200)]
# A second before the P-frame 44: what is displayed in front of it, nothing refers to.
WITH_A_GAP = [time + (1000 if time >= 44 * 40 else 0) for time in EVENLY]


@pytest.mark.parametrize("suffix", [".mp4", pytest.param(".mkv", marks=EXTENDED)])
@pytest.mark.parametrize("pyramid", ["normal", "none"])
@pytest.mark.parametrize("times", [EVENLY, WITH_A_GAP], ids=["evenly", "with a gap"])
def test_the_frames_around_a_time_are_those_of_one_pass(
    times: list[int], pyramid: str, suffix: str, tmp_path: Path
) -> None:
    """Every frame against one that was decoded with all before it."""
    structure = {"bf": "3", "b_strategy": "0", "g": "120", "sc_threshold": "0"}
    path = tmp_path / f"clip{suffix}"
    with_b_frames(path, times, structure | {"x264-params": f"b-pyramid={pyramid}:scenecut=0"})
    with av.open(str(path)) as container:
        every = {f.pts * f.time_base: f.to_ndarray() for f in container.decode(video=0)}
    assert len(every) == len(times)
    for wanted in ((3, 7.9), (1.78, 2.7, 2.75, 4.5, 9), (0.5, 2, 5.5)):
        with open_video(path) as opened:
            opened.first_picture()
            opened.use(opened.read_index())
            opened.rewind()
            seeker = Seeker(opened)
            for time in wanted:
                for found, expected in zip(
                    seeker.around(time),
                    (
                        max((t for t in every if t < time), default=None),
                        min((t for t in every if t >= time), default=None),
                    ),
                    strict=True,
                ):
                    assert (found and found.time_s) == expected
                    if found is not None:
                        assert np.array_equal(found.frame.to_ndarray(), every[found.time_s])

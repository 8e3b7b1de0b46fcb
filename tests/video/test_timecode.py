"""Time codes are those of OpenTimelineIO, and the frames of a file are counted as it says."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from opentimelineio.opentime import RationalTime, to_timecode

from dycoke_cli.video.planning import _lead_s
from dycoke_cli.video.timecode import Timecode
from tests.cli.harness import CLIP
from tests.video.inside import probe

NTSC = {fps: Fraction(fps * 1000, 1001) for fps in (24, 30, 60)}
RATES = [(NTSC[24], False), (Fraction(24), False), (Fraction(25), False), (NTSC[30], False)]
RATES += [(NTSC[30], True), (Fraction(50), False), (NTSC[60], False), (NTSC[60], True)]


@pytest.mark.parametrize(("rate", "drop"), RATES)
def test_a_frame_has_the_code_of_another_library(rate: Fraction, drop: bool) -> None:
    count, choose = Timecode(rate, drop), random.Random(0)
    tens = 600 * count.per_second
    # Around the starts of minutes and of tens of minutes, where numbers are left out, and anywhere.
    frames = {
        max(0, start + near)
        for start in [*range(0, 4 * tens, 60 * count.per_second)]
        for near in range(-80, 10)
    }
    frames |= {choose.randrange(23 * 6 * tens) for _ in range(2000)}
    for frame in sorted(frames):
        code = to_timecode(RationalTime(frame, float(rate)), float(rate), drop)
        assert count.text(frame) == code
        assert count.frame_of(code) == frame
    day = 24 * 6 * (10 * 60 * count.per_second - 9 * (count.left_out if drop else 0))
    assert [count.frame_of(count.text(day + near)) for near in (-1, 0, 1)] == [day - 1, 0, 1]


def test_drop_frame_keeps_the_time_of_the_clock() -> None:
    count = Timecode.of(29.97, "00:00:00;00")
    assert count == Timecode(NTSC[30], drop=True)
    assert count.text(count.frame_at(3600.0)) == "01:00:00;00"
    assert Timecode(NTSC[30]).text(Timecode(NTSC[30]).frame_at(3600.0)) == "00:59:56:12"


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (29.97, NTSC[30]),
        (30.01, 30),
        (23.98, NTSC[24]),
        (25.0, 25),
        (15.02, 15),
        (8.0, 8),
        (59.9, NTSC[60]),
        (0.2, 1),
        (None, 25),
    ],
)
def test_an_average_rate_is_counted_by_the_rate_of_editors(
    fps: float | None, rate: Fraction | int
) -> None:
    assert Timecode.of(fps, None) == Timecode(Fraction(rate))


def test_no_other_rate_leaves_out_numbers() -> None:
    assert not Timecode.of(25.0, "10:00:00;00").drop
    assert Timecode.of(25.0, "nonsense").frame_of("nonsense") == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mxf"])
def test_the_start_time_code_of_a_file_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    with av.open(str(path), "w", options={"timecode": "01:02:03:04"}) as container:
        container.metadata["timecode"] = "01:02:03:04"
        codec = "mpeg2video" if suffix == ".mxf" else "mpeg4"
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["timecode"] = "01:02:03:04"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    assert probe(path).timecode == "01:02:03:04"


def test_the_time_code_of_matroska_has_a_tag_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["timecode"] = "01:02:03:04"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        tags = {**container.metadata, **container.streams[0].metadata}
        assert "TIMECODE" in tags
    assert probe(path).timecode == "01:02:03:04"


def test_a_file_without_one_has_none() -> None:
    found = probe(CLIP)
    assert (found.timecode, found.lead_s) == (None, 0)


def test_a_video_that_begins_behind_its_audio_says_by_how_much(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame(format="s16", layout="mono", samples=8000)
        sound.sample_rate, sound.pts = 8000, 0
        container.mux(audio.encode(sound))
        for number in range(5):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = 7 + number
            frame.time_base = Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    found = probe(path)
    assert found.start_s == pytest.approx(0.7)
    assert found.lead_s == pytest.approx(0.7)


@pytest.mark.parametrize(("start", "lead"), [(1_500_000, 0.5), (2_500_000, 0.0), (None, 0.0)])
def test_a_frame_before_the_start_of_the_file_has_no_lead(start: int | None, lead: float) -> None:
    """As of a stream that is cut where frames refer to what comes later: players show them, too."""
    source: Any = SimpleNamespace(container=SimpleNamespace(start_time=start), origin=Fraction(2))
    assert _lead_s(source) == lead

"""Raw streams have no time stamps: their frames are timed by the rate in them, or a given one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.video import Clip, Sampling
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.live_stream import LiveStream, parse_input
from tests.video.clips import coded_picture, number_in, numbers_in, write_pictures
from tests.video.inside import probe, read
from tests.video.test_live_stream import next_clip

FRAMES = 24
FILM = Fraction(30000, 1001)
# By FFmpeg's name of the raw format: encoder, pixel format, size.
FORMATS = {
    "h264": ("libx264", "yuv420p", (64, 48)),
    "hevc": ("libx265", "yuv420p", (64, 48)),
    "mpeg2video": ("mpeg2video", "yuv420p", (64, 48)),
    "m4v": ("mpeg4", "yuv420p", (64, 48)),
    "obu": ("libsvtav1", "yuv420p", (64, 64)),
    "mjpeg": ("mjpeg", "yuvj420p", (64, 48)),
    "dnxhd": ("dnxhd", "yuv422p", (256, 128)),
    "h263": ("h263", "yuv420p", (128, 96)),
    "h261": ("h261", "yuv420p", (176, 144)),
}
# 12 to 13 per second: FFmpeg guesses twice as many for H.264.
RATES = (Fraction(15), FILM, Fraction(25, 2), Fraction(50))


def written(folder: Path, name: str, rate: Fraction, **options: str) -> Path:
    codec, pixels, size = FORMATS[name]
    path = folder / f"{name}-{float(rate):.2f}"
    if codec == "libx265":
        options.setdefault("x265-params", "log-level=none")
    with av.open(str(path), "w", format=name) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.options = options | ({"profile": "dnxhr_lb"} if codec == "dnxhd" else {})
        for number in range(FRAMES):
            picture = np.asarray(coded_picture(number))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(*size, pixels)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def assert_timed(clip: Clip, rate: Fraction, frames: range = range(FRAMES)) -> None:
    assert numbers_in(clip.frames) == [*frames]
    np.testing.assert_allclose(clip.timestamps_s, [float(i / rate) for i in frames], atol=2e-6)
    assert clip.info.duration_s == pytest.approx(float(FRAMES / rate), abs=2e-6)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *((name, rate) for name in ("h264", "hevc") for rate in RATES),
        ("m4v", Fraction(15)),
        ("m4v", FILM),
        # MPEG-2 has eight rates.
        ("mpeg2video", FILM),
        ("mpeg2video", Fraction(50)),
    ],
)
def test_the_rate_in_the_frames_times_them(tmp_path: Path, name: str, rate: Fraction) -> None:
    path = written(tmp_path, name, rate)
    clip = read(path, Sampling(frames=FRAMES))
    assert_timed(clip, rate)
    assert clip.warnings == ()
    assert clip.info.fps == probe(path).fps == float(rate)
    start, end = 7.99 / float(rate), 11.99 / float(rate)
    part = read(path, Sampling(frames=FRAMES, start_s=start, end_s=end))
    assert numbers_in(part.frames) == [8, 9, 10, 11]


@pytest.mark.parametrize(
    ("name", "assumed"),
    [("obu", "25"), ("mjpeg", "25"), ("dnxhd", "25"), ("h263", "29.97"), ("h261", "29.97")],
)
def test_a_rate_that_nothing_says_is_assumed_aloud(tmp_path: Path, name: str, assumed: str) -> None:
    path = written(tmp_path, name, Fraction(15))
    clip = read(path, Sampling(frames=FRAMES))
    assert_timed(clip, FILM if assumed == "29.97" else Fraction(25))
    assert clip.warnings == (
        f"{path} doesn't say how many frames per second it has: {assumed} are assumed, on which "
        "all times depend; set the true rate by --input-fps",
    )
    assert clip.info.fps is None


def test_h265_without_timing_is_assumed_aloud(tmp_path: Path) -> None:
    parameters = {"x265-params": "log-level=none:vui-timing-info=0"}
    path = written(tmp_path, "hevc", Fraction(15), **parameters)
    clip = read(path, Sampling(frames=FRAMES))
    assert_timed(clip, Fraction(25))
    assert "25 are assumed" in clip.warnings[0]


def test_a_single_picture_has_no_times_to_warn_of(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(coded_picture(5), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert read(path).warnings == ()


@pytest.mark.parametrize("given", [7.5, 0.01, 240], ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_a_given_rate_times_every_raw_format(tmp_path: Path, name: str, given: float) -> None:
    rate = Fraction(str(given))
    path = written(tmp_path, name, FILM)
    clip = read(path, Sampling(frames=FRAMES, input_fps=given))
    assert_timed(clip, rate)
    assert (clip.warnings, clip.info.fps) == ((), given)
    start, end = 7.99 / float(rate), 11.99 / float(rate)
    part = read(path, Sampling(frames=FRAMES, start_s=start, end_s=end, input_fps=given))
    assert numbers_in(part.frames) == [8, 9, 10, 11]


def test_a_file_with_time_stamps_keeps_them(tmp_path: Path) -> None:
    pictures = [coded_picture(number) for number in range(5)]
    path = write_pictures(tmp_path / "clip.mp4", pictures, codec="libx264", pix_fmt="yuv420p")
    clip = read(path, Sampling(input_fps=5))
    assert clip.timestamps_s[-1] == pytest.approx(0.4)
    assert clip.warnings == (f"{path} has time stamps, so --input-fps has no effect on it",)


def test_dv_declares_its_rate_not_its_time_base(tmp_path: Path) -> None:
    coded = (av.VideoFrame.from_ndarray(coded_picture(n), format="rgb24") for n in range(3))
    pictures = [frame.reformat(720, 576).to_ndarray() for frame in coded]
    path = write_pictures(
        tmp_path / "clip.dv", pictures, codec="dvvideo", pix_fmt="yuv420p", rate=25
    )
    clip = read(path)
    assert [number_in(frame) for frame in clip.frames] == [0, 1, 2]
    assert (clip.info.fps, clip.info.duration_s) == (25, pytest.approx(0.12))


def test_a_raw_stream_that_grows_has_its_rate_or_a_given_one(tmp_path: Path) -> None:
    path = written(tmp_path, "mjpeg", FILM)
    for given, seconds in ((None, FRAMES / 25), (8.0, FRAMES / 8)):
        sampling = Sampling(frames=2, start_s=0, end_s=100, input_fps=given)
        with LiveStream(parse_input(str(path)), sampling, Limits(), timeout_s=1) as stream:
            clip = next_clip(stream)
        assert clip.part_s == (0, pytest.approx(seconds))
        assert bool(clip.warnings) is (given is None)

"""What a file says of itself, which of its streams is read, and how sizes change."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video import Sampling, StreamInfo, read
from dycoke_cli.video.probe import probe
from tests.video.clips import Recipe, number_in, numbers_in, write_pictures
from tests.video.conftest import MakeClip

RED, BLUE = (
    np.full((48, 64, 3), (200, 0, 0), np.uint8),
    np.full((96, 128, 3), (0, 0, 200), np.uint8),
)


def write_streams(path: Path, *pictures: np.ndarray, cover: bool = False) -> Path:
    """A file with a video stream of 10 frames for each picture, the first one cover art if so."""
    with av.open(str(path), "w") as container:
        streams = []
        for picture in pictures:
            still = cover and not streams
            stream = container.add_stream("png" if still else "libx264", rate=10)
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = "rgb24" if still else "yuv444p"
            if still:
                stream.disposition = av.stream.Disposition.attached_pic
            streams.append(stream)
        for stream, picture in zip(streams, pictures, strict=True):
            for number in range(1 if cover and stream is streams[0] else 10):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_everything_that_is_known(make_clip: MakeClip) -> None:
    path = make_clip(Recipe(sound_s=1.0)).path
    info = probe(path)
    assert info.path == str(path)
    assert "mp4" in info.container
    assert (info.stream, info.codec, info.width, info.height) == (0, "h264", 64, 48)
    assert (info.rotation_deg, info.mirrored, info.pixel_aspect) == (0, False, 1.0)
    assert (info.fps, info.variable_rate, info.frame_count) == (25.0, False, 50)
    assert (info.duration_s, info.start_s) == (2.0, 0.0)
    assert (info.pixel_format, info.bit_depth, info.full_range) == ("yuv420p", 8, False)
    assert (info.hdr, info.matrix) == (False, "ITU601")
    assert info.video_streams == (StreamInfo(0, "h264", 64, 48, True),)
    assert (info.audio_streams, info.subtitle_streams) == (1, 0)
    assert info.audio is not None
    assert (info.audio.index, info.audio.channels) == (1, 2)


def test_variable_rate_is_told_from_the_index(make_clip: MakeClip) -> None:
    uneven = Recipe(times_ms=(0, 40, 80, 500, 540, 2000))
    assert probe(make_clip(uneven).path).variable_rate is True
    assert probe(make_clip(Recipe(rate=30)).path).variable_rate is False
    assert probe(make_clip(Recipe(suffix=".mkv")).path).variable_rate is None


def test_late_first_time_stamp(make_clip: MakeClip) -> None:
    coded = make_clip(Recipe(suffix=".mkv", times_ms=tuple(range(700, 2700, 40))))
    assert probe(coded.path).start_s == pytest.approx(0.7)
    assert read(coded.path).info.duration_s == pytest.approx(2.0)


def test_best_stream_is_read_unless_another_is_named(tmp_path: Path) -> None:
    path = write_streams(tmp_path / "two.mkv", RED, BLUE)
    info = probe(path)
    assert [(one.index, one.width, one.height) for one in info.video_streams] == [
        (0, 64, 48),
        (1, 128, 96),
    ]
    for stream, picture in ((0, RED), (1, BLUE)):
        clip = read(path, Sampling(frames=2, stream=stream))
        assert clip.info.stream == stream
        np.testing.assert_allclose(clip.frames[1], picture, atol=6)
        assert probe(path, stream).stream == stream


def test_stream_that_isnt_a_video(tmp_path: Path, make_clip: MakeClip) -> None:
    path = make_clip(Recipe(sound_s=1.0)).path
    for index in (1, 7):
        with pytest.raises(UsageError) as error:
            read(path, Sampling(stream=index))
        assert str(error.value) == (
            f"--stream {index} isn't a video stream of {path}; its video streams: 0"
        )


def test_cover_art_isnt_a_video(tmp_path: Path) -> None:
    path = write_streams(tmp_path / "song.mp4", RED, cover=True)
    for look in (probe, read):
        with pytest.raises(VideoError) as error:
            look(path)  # type: ignore[operator]
        assert str(error.value) == (
            f"{path} has no video in it, only a cover picture: name a video file"
        )


def test_video_beside_cover_art_is_found(tmp_path: Path) -> None:
    path = write_streams(tmp_path / "film.mp4", RED, BLUE, cover=True)
    clip = read(path, Sampling(frames=2))
    assert clip.frames.shape == (2, 96, 128, 3)
    # FFmpeg lists the cover behind the streams of an mp4.
    assert [one.index for one in clip.info.video_streams] == [0]
    with pytest.raises(UsageError, match=r"--stream 1 isn't a video .* streams: 0"):
        read(path, Sampling(stream=1))


def test_size_that_changes_is_scaled_to_the_first(tmp_path: Path, make_clip: MakeClip) -> None:
    # Raw H.264 can be joined like text: 10 small frames, then 10 of another size.
    small = make_clip(Recipe(suffix=".h264", frames=10)).path
    large = write_pictures(tmp_path / "large.h264", [BLUE] * 10, codec="libx264", pix_fmt="yuv420p")
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    clip = read(path, Sampling(frames=20))
    assert clip.frames.shape == (20, 48, 64, 3)
    assert numbers_in(clip.frames[:10]) == list(range(10))
    np.testing.assert_allclose(clip.frames[10:], np.tile(BLUE[:48, :64], (10, 1, 1, 1)), atol=6)
    assert len(clip.warnings) == 1
    assert "changes its picture size from 64×48 to 128×96" in clip.warnings[0]


def test_real_two_streams(real_video: Callable[[str], Path]) -> None:
    path = real_video("nasa.mp4")
    info = probe(path)
    assert (info.stream, info.width, info.height) == (3, 480, 270)
    assert [one.index for one in info.video_streams] == [0, 3]
    assert (info.audio_streams, info.subtitle_streams) == (2, 2)
    assert info.audio is not None
    assert read(path, Sampling(frames=2, stream=0)).frames.shape == (2, 180, 320, 3)


def test_same_picture_in_both(make_clip: MakeClip) -> None:
    assert number_in(read(make_clip(Recipe()).path, Sampling(frames=2)).frames[1]) == 49

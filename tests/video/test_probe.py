"""What a file says of itself, which of its streams is read, and how sizes change."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, features

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video.clip import StreamInfo
from dycoke_cli.video.sampling import Sampling
from tests.video.clips import Recipe, numbers_in, write_growing
from tests.video.conftest import MakeClip
from tests.video.inside import probe, read

RED, BLUE = (
    np.full((48, 64, 3), (200, 0, 0), np.uint8),
    np.full((96, 128, 3), (0, 0, 200), np.uint8),
)


def write_streams(
    path: Path,
    *pictures: np.ndarray,
    cover: bool = False,
    default: int | None = None,
    frames: dict[int, int] | None = None,
    noise: int | None = None,
) -> Path:
    """A file with a video stream of 10 frames for each picture, the first one cover art if so.

    `default` is the only stream that is marked so, `frames` has other numbers of frames, and
    `noise` is the stream whose frames are hard to code, which takes a higher bit rate.
    """
    with av.open(str(path), "w") as container:
        streams = []
        for picture in pictures:
            still = cover and not streams
            stream = container.add_stream("png" if still else "libx264", rate=10)
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = "rgb24" if still else "yuv444p"
            if still:
                stream.disposition = av.stream.Disposition.attached_pic
            elif default in (None, len(streams)):
                stream.disposition = av.stream.Disposition.default
            else:
                stream.disposition = av.stream.Disposition(0)
            streams.append(stream)
        for stream, picture in zip(streams, pictures, strict=True):
            count = (frames or {}).get(stream.index, 10)
            for number in range(1 if cover and stream is streams[0] else count):
                shown = picture.copy()
                if stream.index == noise:
                    grain = np.random.default_rng(number).integers(0, 40, shown.shape, np.uint8)
                    shown[:, :, 1:] += grain[:, :, 1:]
                frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
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
    assert (info.fps, info.variable_rate, info.frame_count) == (25.0, False, 50)
    assert (info.duration_s, info.start_s) == (2.0, 0.0)
    assert not info.hdr
    assert info.video_streams == (StreamInfo(0, "h264", 64, 48, True),)
    assert (info.audio_streams, info.subtitle_streams) == (1, 0)


def test_variable_rate_is_told_from_the_index(make_clip: MakeClip) -> None:
    uneven = Recipe(times_ms=(0, 40, 80, 500, 540, 2000))
    assert probe(make_clip(uneven).path).variable_rate is True
    assert probe(make_clip(Recipe(rate=30)).path).variable_rate is False
    assert probe(make_clip(Recipe(suffix=".mkv")).path).variable_rate is False


def test_a_variable_rate_lasts_until_the_end_of_its_last_frame(make_clip: MakeClip) -> None:
    # Bursts with gaps: the frame at 5.48 s is shown for 20 ms as those before it, or for 40.
    times = (*range(0, 1000, 40), 1500, 1530, 2600, 4000, *range(5000, 5500, 20))
    fragmented = (("movflags", "frag_keyframe+empty_moov"),)
    for more in ({}, {"container_options": fragmented}, {"suffix": ".mkv"}):
        info = read(make_clip(Recipe(times_ms=times, **more)).path).info
        assert 5.499 <= info.duration_s <= 5.521, more


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


GREEN = np.full((48, 64, 3), (0, 120, 0), np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize(
    ("pictures", "options", "stream"),
    [
        ((RED, GREEN), {}, 0),
        ((RED, GREEN), {"noise": 0}, 0),
        ((RED, GREEN), {"noise": 1}, 0),
        ((GREEN, RED, GREEN), {"noise": 2}, 0),
        ((RED, BLUE), {}, 1),
        ((BLUE, RED), {"noise": 1}, 0),
        ((RED, BLUE, BLUE), {"noise": 2}, 1),
        ((RED, GREEN), {"default": 1}, 1),
        ((BLUE, RED), {"default": 1}, 1),
    ],
)
def test_the_first_of_equal_streams(
    pictures: tuple[np.ndarray, ...],
    options: dict[str, int],
    stream: int,
    suffix: str,
    tmp_path: Path,
) -> None:
    """The default one, then the largest, then the first; the bit rate doesn't matter."""
    if "default" in options and suffix in (".ts", ".avi"):
        stream = 0  # these formats have no mark for the default stream
    path = write_streams(tmp_path / f"some{suffix}", *pictures, **options)  # type: ignore[arg-type]
    assert probe(path).stream == stream
    clip = read(path, Sampling(frames=2))
    assert clip.info.stream == stream
    assert clip.frames[0, 9, 9] == pytest.approx(pictures[stream][9, 9], abs=45)
    assert clip.warnings == ()


def test_a_picture_in_a_stream_is_no_other_video(tmp_path: Path) -> None:
    """Cover art that isn't marked as such, before the video, after it, and of its size."""
    cases = (
        ((BLUE, RED), 0, None),
        ((RED, BLUE), 1, None),
        ((RED, RED), 0, None),
        ((BLUE, RED), 0, 0),
    )
    for number, (pictures, cover, default) in enumerate(cases):
        path = tmp_path / f"{number}.mp4"
        write_streams(path, *pictures, frames={cover: 1}, default=default)
        clip = read(path, Sampling(frames=10))
        assert (clip.info.stream, len(clip.frames), clip.warnings) == (1 - cover, 10, ())


def test_the_transparency_of_avif_is_no_other_video(tmp_path: Path) -> None:
    if not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    pictures = [Image.new("RGBA", (64, 48), (0, 0, 200, 80 * number)) for number in range(3)]
    for name, more in (("a.avif", []), ("b.avif", pictures[1:])):
        pictures[0].save(tmp_path / name, save_all=bool(more), append_images=more, duration=100)
        clip = read(tmp_path / name)
        assert len(clip.frames) == 1 + len(more)
        assert not any("--stream" in warning for warning in clip.warnings)


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
    small = make_clip(Recipe(suffix=".ts", frames=10)).path
    clip = read(write_growing(tmp_path, small, BLUE), Sampling(frames=20))
    assert clip.frames.shape == (20, 48, 64, 3)
    assert numbers_in(clip.frames[:10]) == list(range(10))
    np.testing.assert_allclose(clip.frames[10:], np.tile(BLUE[:48, :64], (10, 1, 1, 1)), atol=6)
    assert clip.warnings == ()

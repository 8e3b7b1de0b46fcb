"""Real footage: facts known from elsewhere (ffprobe, the pages that the files come from)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.video import Sampling
from tests.video.inside import probe, read

RealVideo = Callable[[str], Path]


@dataclass(frozen=True)
class Known:
    """What is known of a file: number of frames, and the time of the last."""

    name: str
    size: tuple[int, int]
    frames: int
    last_s: float
    codec: str = "h264"


KNOWN = [
    Known("bikes.mp4", (640, 272), 250, 249 / 25),
    Known("flower.mp4", (960, 540), 150, 149 * 1001 / 30000),
    Known("flower.webm", (960, 540), 150, 149 * 1001 / 30000, "vp8"),
    Known("flower-fragmented.mp4", (960, 540), 150, 149 * 1001 / 30000),
    Known("friday.mp4", (640, 480), 185, 184 / 30),
    Known("nasa.mp4", (480, 270), 390, 389 * 1001 / 30000),
    Known("fire_vfr_rotated.mp4", (1280, 720), 25, 2.2798),
    Known("hevc.mp4", (128, 128), 10, 0.9, "hevc"),
    Known("one_pixel.mp4", (1, 1), 5, 4.0),
    Known("no_duration.webm", (1280, 720), 74, 4.872, "vp9"),
]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_readable_files(real_video: RealVideo, known: Known) -> None:
    clip = read(real_video(known.name), Sampling(frames=6))
    width, height = known.size
    assert clip.frames.shape == (min(6, known.frames), height, width, 3)
    assert clip.timestamps_s[0] == 0
    assert clip.timestamps_s[-1] == pytest.approx(known.last_s, abs=0.002)
    assert list(clip.timestamps_s) == sorted(set(clip.timestamps_s))
    assert clip.info.codec == known.codec
    # nasa.mp4 has a smaller video, too, and no_duration.webm transparency that is stored apart.
    said = {"nasa.mp4": "set --stream 0", "no_duration.webm": "ProRes 4444"}.get(known.name)
    assert len(clip.warnings) == (said is not None)
    assert all(warning.endswith(said) for warning in clip.warnings)


@pytest.mark.parametrize("known", KNOWN[:2] + KNOWN[6:9], ids=lambda known: known.name)
def test_all_frames(real_video: RealVideo, known: Known) -> None:
    assert len(read(real_video(known.name), Sampling(frames=1000)).frames) == known.frames


def test_three_containers_agree(real_video: RealVideo) -> None:
    clips = [
        read(real_video(f"flower{ending}"), Sampling(frames=8))
        for ending in (".mp4", "-fragmented.mp4", ".webm")
    ]
    np.testing.assert_array_equal(clips[0].frames, clips[1].frames)
    for clip in clips[1:]:
        np.testing.assert_allclose(clip.timestamps_s, clips[0].timestamps_s, atol=0.002)
    # Another codec, the same pictures.
    difference = np.abs(clips[2].frames.astype(int) - clips[0].frames.astype(int))
    assert difference.mean() < 6


def test_variable_rate_keeps_true_time_stamps(real_video: RealVideo) -> None:
    path = real_video("fire_vfr_rotated.mp4")
    assert probe(path).variable_rate is True
    gaps = np.diff(read(path, Sampling(frames=25)).timestamps_s)
    assert gaps.max() > 1.2 * gaps.min()


def test_no_duration(real_video: RealVideo) -> None:
    path = real_video("no_duration.webm")
    assert probe(path).duration_s is None
    assert read(path, Sampling(frames=2)).info.duration_s == pytest.approx(4.872, abs=0.1)


def test_sound_only(real_video: RealVideo) -> None:
    with pytest.raises(VideoError, match="has no video in it, only sound"):
        read(real_video("audio_only.mp3"))


def test_zero_bytes(real_video: RealVideo) -> None:
    with pytest.raises(VideoError, match="is empty"):
        read(real_video("zero_byte.webm"))


def test_subtitles_are_no_video(real_video: RealVideo) -> None:
    with pytest.raises(VideoError, match="has no video in it: name a video file"):
        read(real_video("friday.vtt"))

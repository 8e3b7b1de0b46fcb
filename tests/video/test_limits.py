"""Videos too large for memory are refused before anything is decoded, with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dycoke_cli.errors import OutOfMemoryError, VideoError
from dycoke_cli.video import Sampling, limits
from tests.video.clips import Recipe, numbers_in, write_pictures
from tests.video.conftest import MakeClip
from tests.video.inside import plan, probe, read


def test_picture_above_the_pixel_limit(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(Recipe()).path
    monkeypatch.setattr(limits, "MAX_PICTURE_PIXELS", 64 * 48 - 1)
    for look in (probe, plan, read):
        with pytest.raises(
            VideoError, match=r"pictures of 64×48, above the limit of 0\.00307 mega"
        ):
            look(path)  # type: ignore[operator]


def test_picture_at_the_pixel_limit(make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PICTURE_PIXELS", 64 * 48)
    assert len(read(make_clip(Recipe()).path, Sampling(frames=2)).frames) == 2


def test_picture_that_grows_beyond_the_limit_is_left_out(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = make_clip(Recipe(suffix=".h264", frames=10)).path
    picture = np.zeros((480, 640, 3), np.uint8)
    large = write_pictures(tmp_path / "b.h264", [picture] * 5, codec="libx264", pix_fmt="yuv420p")
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    monkeypatch.setattr(limits, "MAX_PICTURE_PIXELS", 200 * 200)
    clip = read(path, Sampling(frames=100))
    assert numbers_in(clip.frames) == list(range(10))
    assert any("is damaged" in warning for warning in clip.warnings)


@pytest.mark.parametrize(
    ("sampling", "advice"),
    [
        (Sampling(frames=32), "lower --frames to 10"),
        (Sampling(fps=16), "lower --fps, or --max-frames to 10"),
    ],
)
def test_clip_above_the_memory_limit(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch, sampling: Sampling, advice: str
) -> None:
    path = make_clip(Recipe()).path
    monkeypatch.setattr(limits, "MAX_CLIP_BYTES", 10 * 64 * 48 * 3 + 1)
    for look in (plan, read):
        with pytest.raises(VideoError) as error:
            look(path, sampling)  # type: ignore[operator]
        assert str(error.value).startswith(f"32 frames of {path} (64×48) take 0.0 GiB, above the")
        assert str(error.value).endswith(advice)


def test_memory_counts_the_frames_that_are_there(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CLIP_BYTES", 50 * 64 * 48 * 3)
    assert len(read(make_clip(Recipe()).path, Sampling(frames=1000)).frames) == 50


def test_more_than_the_memory_that_is_free(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(Recipe()).path
    needed = plan(path, Sampling(frames=2)).memory_bytes
    assert needed > 2 * 64 * 48 * 3
    monkeypatch.setattr(limits, "free_main_memory", lambda: 2 * needed)
    assert len(read(path, Sampling(frames=2)).frames) == 2
    monkeypatch.setattr(limits, "free_main_memory", lambda: 2 * needed - 2)
    with pytest.raises(OutOfMemoryError) as error:
        read(path, Sampling(frames=2))
    assert error.value.exit_code == 5
    assert str(error.value).startswith(
        f"to read 2 frames of {path} (64×48) takes 0.0 GiB of memory"
    )
    assert plan(path, Sampling(frames=2)).times_s  # what would be read can still be said
    monkeypatch.setattr(limits, "free_main_memory", lambda: 64 * 48)
    with pytest.raises(OutOfMemoryError, match="to read a frame of"):
        plan(path)


def test_limits_allow_8k() -> None:
    assert 7680 * 4320 < limits.MAX_PICTURE_PIXELS < 100_000_000
    assert limits.MAX_CLIP_BYTES // (3840 * 2160 * 3) >= 64


@pytest.mark.parametrize(
    ("pixels", "size"), [(64 * 48, (64, 48)), (64 * 48 // 4, (32, 24)), (100, (11, 8))]
)
def test_frames_are_scaled_to_a_number_of_pixels(
    make_clip: MakeClip, pixels: int, size: tuple[int, int]
) -> None:
    path, sampling = make_clip(Recipe()).path, Sampling(frames=3, max_pixels=pixels)
    planned, clip = plan(path, sampling), read(path, sampling)
    assert (planned.width, planned.height) == size == limits.size_within(64, 48, pixels)
    assert clip.frames.shape == (3, size[1], size[0], 3)
    assert clip.warnings == planned.warnings == ()  # it was asked for

"""Frames at the size that a model reads: resized one by one, and never more of them held."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from dycoke_cli.errors import ModelError, VideoError
from dycoke_cli.video import Decoder, Sampling, frames, limits
from dycoke_cli.video.frames import Fit, FrameResize, known
from tests.video.inside import read

CLIP = str(Path(__file__).parents[2] / "sample_videos" / "move.mp4")  # 256 × 256
EIGHT = Sampling(frames=8)


def to(height: int, width: int) -> Fit:
    """A resize as a stock processor's."""
    return lambda frames, high, wide: FrameResize(
        (high, wide), (height, width), "bicubic", False, True, False
    )


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """All at once."""
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    made = interpolate(video, (height, width), mode="bicubic", antialias=True)
    return made.permute(0, 2, 3, 1).numpy()


def test_each_frame_is_resized_and_the_rest_stays_the_files() -> None:
    decoded = read(CLIP, EIGHT)
    with Decoder() as decoder:
        clip = decoder.read(CLIP, EIGHT, fit=known(to(20, 30)))
    assert np.array_equal(clip.frames, resized(decoded.frames, 20, 30))
    assert clip.resize == to(20, 30)(8, 256, 256)
    assert (clip.timestamps_s, clip.info) == (decoded.timestamps_s, decoded.info)
    assert frames.decoded_size(clip) == frames.decoded_size(decoded) == (256, 256)


def test_pictures_are_resized_as_well(tmp_path: Path) -> None:
    with Decoder() as decoder:
        pictures = np.arange(3 * 24 * 32 * 3, dtype=np.uint8).reshape(3, 24, 32, 3)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / f"{number}.png")
        clip = decoder.read(str(tmp_path), EIGHT, fit=known(to(8, 8)))
    assert np.array_equal(clip.frames, resized(pictures, 8, 8))


def test_fewer_frames_than_planned_have_the_size_of_so_few() -> None:
    """A clip of 8 frames a second has each frame once, however many a second are wanted."""
    counts: list[int] = []

    def fit(frames: int, height: int, width: int) -> FrameResize | None:
        counts.append(frames)
        return to(512 // frames, 512 // frames)(frames, height, width)

    sampling = Sampling(fps=64, end_s=1.0)
    decoded = read(CLIP, sampling)
    with Decoder() as decoder, decoder.open(CLIP, sampling, fitted=True) as opened:
        planned = len(opened.plan.times_s)
        clip = opened.read(fit=known(fit))
    came = len(decoded.frames)
    assert counts[0] == planned > came == counts[-1]
    assert np.array_equal(clip.frames, resized(decoded.frames, 512 // came, 512 // came))


def test_frames_wait_for_the_processor_and_no_more_than_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "BACKLOG_BYTES", 3 * 256 * 256 * 3)
    held: list[int] = []

    class Loading(Future[Fit]):
        """A model that is loaded once it is waited for."""

        def result(self, timeout: float | None = None) -> Fit:
            if not self.done():
                held.append(read_frames[-1])
                self.set_result(to(16, 16))
            return super().result(timeout)

    read_frames: list[int] = []
    decoded = read(CLIP, EIGHT)
    with Decoder() as decoder, decoder.open(CLIP, EIGHT, fitted=True) as opened:
        clip = opened.read(lambda done, total: read_frames.append(done), Loading())
    assert held == [3]
    assert np.array_equal(clip.frames, resized(decoded.frames, 16, 16))


def test_a_model_that_cannot_be_loaded_ends_the_reading() -> None:
    fit = Future[Fit]()
    fit.set_exception(ModelError("no such model"))
    with Decoder() as decoder, pytest.raises(ModelError, match="no such model"):
        decoder.read(CLIP, EIGHT, fit=fit)


def test_the_limit_counts_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIP_BYTES", 8 * 20 * 20 * 3)
    with Decoder() as decoder:
        assert decoder.read(CLIP, EIGHT, fit=known(to(20, 20))).frames.shape == (8, 20, 20, 3)
        with pytest.raises(
            VideoError, match=r"8 frames of .* \(21×20\) take .*: lower --frames to"
        ):
            decoder.read(CLIP, EIGHT, fit=known(to(20, 21)))

"""Frames at the size that a model reads, whole or in windows, and never more of them held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from dycoke_cli.errors import ModelError, VideoError
from dycoke_cli.video import limits
from dycoke_cli.video.clip import (
    Clip,
    ClosedError,
    Fit,
    FrameResize,
    Frames,
    FrameWindow,
    WindowQueue,
    decoded_size,
    known,
)
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from tests.video.inside import plan, read

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
    assert decoded_size(clip) == decoded_size(decoded) == (256, 256)


def test_pictures_are_resized_as_well(tmp_path: Path) -> None:
    with Decoder() as decoder:
        pictures = np.arange(3 * 24 * 32 * 3, dtype=np.uint8).reshape(3, 24, 32, 3)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / f"{number}.png")
        clip = decoder.read(str(tmp_path), EIGHT, fit=known(to(8, 8)))
    assert np.array_equal(clip.frames, resized(pictures, 8, 8))


def test_fewer_frames_than_planned_are_resized_by_the_processor() -> None:
    """Where it reads so few at another size."""

    def fit(frames: int, height: int, width: int) -> FrameResize | None:
        return to(512 // frames, 512 // frames)(frames, height, width)

    for other in (fit, to(64, 64)):
        kept = Frames(plan(CLIP, EIGHT), EIGHT, known(other))
        for number in range(4):
            kept.room()[:] = number
            kept.keep(float(number))
        clip = kept.clip(())
        assert clip.frames.shape == (4, 64, 64, 3)
        assert (clip.resize is None) == (other is fit)


def test_frames_wait_for_the_processor_and_not_who_makes_them() -> None:
    fit = Future[Fit]()
    frames = Frames(plan(CLIP, EIGHT), EIGHT, fit)
    fit.set_result(to(20, 30))
    frames.room()[:] = 7
    frames.keep(0.0)
    assert frames.clip(()).frames.shape == (1, 20, 30, 3)


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


SAMPLING = Sampling(frames=30)


def in_windows(
    video: str,
    windows: WindowQueue,
    taken: Callable[[FrameWindow], None],
    limits: Limits | None = None,
) -> Clip:
    """Read a video, while `taken` is called with each window in this thread."""
    with (
        Decoder(limits) as decoder,
        decoder.open(video, SAMPLING) as opened,
        ThreadPoolExecutor(1) as pool,
    ):

        def reading() -> Clip:
            try:
                return opened.read(fit=known(to(20, 30)), windows=windows)
            finally:
                windows.end()

        future = pool.submit(reading)
        for window in windows:
            taken(window)
        return future.result()


def test_windows_have_the_frames_one_behind_the_other() -> None:
    decoded, got = read(CLIP, SAMPLING), list[FrameWindow]()
    clip = in_windows(CLIP, WindowQueue(8), got.append)
    assert [len(window.frames) for window in got] == [8, 8, 8, 6]
    joined = np.concatenate([window.frames for window in got])
    assert np.array_equal(joined, resized(decoded.frames, 20, 30))
    assert {window.resize for window in got} == {to(20, 30)(30, 256, 256)}
    assert (clip.timestamps_s, clip.info) == (decoded.timestamps_s, decoded.info)
    assert (clip.frames.shape, clip.window) == ((30, 20, 30, 3), 8)
    assert clip.frames.strides == (0, 0, 0, 0)  # the shape alone


def test_frames_wait_for_whoever_takes_them() -> None:
    """While a window is encoded, one waits and one is decoded: the rest isn't read yet."""
    windows, done = WindowQueue(4), list[int]()
    with Decoder() as decoder, decoder.open(CLIP, SAMPLING) as opened:
        full = threading.Event()

        def note(count: int, total: int) -> None:
            done.append(count)
            if count == 8:
                full.set()

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(opened.read, note, known(to(8, 8)), windows)
            assert full.wait(60)
            assert not future.done()
            windows.close()
            with pytest.raises(ClosedError):
                future.result(60)
    assert done[-1] == 8


@pytest.mark.slow
def test_waiting_for_the_model_is_not_the_videos_time() -> None:
    """A decoder has seconds; encoding an hour takes longer."""
    never = threading.Event()
    limits = Limits(time_limit=2)
    clip = in_windows(CLIP, WindowQueue(4), lambda window: never.wait(0.4), limits)
    assert len(clip.timestamps_s) == 30

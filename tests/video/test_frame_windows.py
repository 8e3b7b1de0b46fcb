"""Frames that are handed on in windows: the same ones, and only a few windows are in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dycoke_cli.video import Decoder, Sampling
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.frames import (
    WINDOW,
    ClosedError,
    Fit,
    Frames,
    FrameWindow,
    WindowQueue,
    known,
)
from dycoke_cli.video.limits import Limits
from tests.video.inside import plan, read
from tests.video.test_kept_frames import CLIP, resized, to

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
        decoder.open(video, SAMPLING, fitted=True) as opened,
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


def test_frames_that_waited_for_the_model_fill_windows_to_the_brim() -> None:
    """All of them, and as many as fill two windows, come before the size is known."""
    windows, got = WindowQueue(8), list[FrameWindow]()
    small = replace(plan(CLIP, Sampling(frames=20)), width=4, height=4)
    kept = Frames(small, SAMPLING, to_be := Future[Fit](), windows)
    taking = threading.Thread(target=lambda: got.extend(windows))
    taking.start()
    for number in range(20):
        if number == 16:
            to_be.set_result(to(2, 2))
        if kept.waits:
            kept.catch_up()
        kept.room()[:] = number
        kept.keep(float(number))
    kept.clip(())
    windows.end()
    taking.join()
    assert [window.frames[:, 0, 0, 0].tolist() for window in got] == [
        [*range(8)], [*range(8, 16)], [*range(16, 20)],
    ]  # fmt: skip


def test_a_video_of_fewer_frames_is_one_window() -> None:
    got = list[FrameWindow]()
    in_windows(CLIP, WindowQueue(64), got.append)
    assert [len(window.frames) for window in got] == [30]


def test_pictures_are_handed_on_as_well(tmp_path: Path) -> None:
    pictures = np.arange(30 * 24 * 32 * 3, dtype=np.uint32).astype(np.uint8)
    pictures = pictures.reshape(30, 24, 32, 3)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    got = list[FrameWindow]()
    clip = in_windows(str(tmp_path), WindowQueue(16), got.append)
    joined = np.concatenate([window.frames for window in got])
    assert np.array_equal(joined, resized(pictures, 20, 30))
    assert (len(got), clip.window) == (2, 16)


def test_frames_wait_for_whoever_takes_them() -> None:
    """While a window is encoded, one waits and one is decoded: the rest isn't read yet."""
    windows, done = WindowQueue(4), list[int]()
    with Decoder() as decoder, decoder.open(CLIP, SAMPLING, fitted=True) as opened:
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
    limits = Limits(time_limit=4)
    clip = in_windows(CLIP, WindowQueue(4), lambda window: never.wait(1.0), limits)
    assert len(clip.timestamps_s) == 30


def test_a_video_as_it_is_sampled_by_default_is_one_window() -> None:
    assert not WindowQueue(WINDOW).several(Sampling().frames)
    assert WINDOW % 8 == 0

"""A clip that is opened by one thread, read by another, and stopped by the first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dycoke_cli.video import Sampling, open_clip, plan, read
from dycoke_cli.video.source import StoppedError

CLIP = Path(__file__).parents[2] / "sample_videos" / "move.mp4"
SAMPLING = Sampling(frames=8)


def test_another_thread_reads_the_same() -> None:
    with open_clip(CLIP, SAMPLING) as reader, ThreadPoolExecutor(1) as pool:
        assert reader.plan == plan(CLIP, SAMPLING)
        clip = pool.submit(reader.read).result()
    alone = read(CLIP, SAMPLING)
    assert np.array_equal(clip.frames, alone.frames)
    assert clip.timestamps_s == alone.timestamps_s


def test_nothing_is_read_once_it_was_stopped() -> None:
    read_so_far: list[int] = []
    with open_clip(CLIP, SAMPLING) as reader:

        def stop(done: int, total: int) -> None:
            read_so_far.append(done)
            reader.stop()

        with pytest.raises(StoppedError):
            reader.read(stop)
    # Frames that lay in the decoder already may come; of the next packet none does.
    assert len(read_so_far) < len(reader.plan.times_s)

"""Frames that are sent to a server: their times, as vLLM reads them and as `dycoke serve` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers.video_utils import VideoMetadata

from dycoke_cli.runs.remote.served_model import as_images, as_video
from tests.server.requests import about as read
from tests.server.requests import clips_of

TIMES_S = {
    "late": (600.0, 601.0, 602.0, 603.0),
    "uneven": (0.0, 0.04, 7.5, 7.541),
    "from 0": (0.0, 2.5, 5.0, 7.5),
    "single": (12.25,),
    "fast": (0.0, 1 / 960, 2 / 960, 3 / 960),
}


@pytest.mark.parametrize("duration_s", [None, 3600.0])
@pytest.mark.parametrize("name", TIMES_S)
def test_both_kinds_of_server_read_the_times_of_the_frames(
    name: str, duration_s: float | None
) -> None:
    times_s = TIMES_S[name]
    frames = np.zeros((len(times_s), 16, 16, 3), np.uint8)
    sent = as_video(frames, times_s, duration_s=duration_s)
    about: Any = sent.about
    assert (about["fps"], about["do_sample_frames"]) == (1000.0, False)
    # vLLM gives these to the stock processor, whose class computes the times.
    keys = ("total_num_frames", "fps", "duration", "frames_indices")
    metadata = VideoMetadata(**{key: about[key] for key in keys})
    assert metadata.timestamps == pytest.approx(times_s, abs=0.0005)
    assert about["total_num_frames"] > about["frames_indices"][-1]
    assert about["duration"] == pytest.approx(duration_s or times_s[-1], abs=0.004)
    (clip,) = clips_of(read(*sent.parts, most=8, media_io_kwargs={"video": about}))
    assert clip.timestamps_s == pytest.approx(times_s, abs=0.0005)
    assert clip.info.duration_s == pytest.approx(duration_s or times_s[-1], abs=0.004)


def test_pictures_have_no_times() -> None:
    assert as_images(np.zeros((2, 16, 16, 3), np.uint8), (600.0, 601.0)).about is None

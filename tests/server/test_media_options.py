"""`media_io_kwargs` of a list of JPEGs: times as vLLM computes them, and what isn't such a list."""

from __future__ import annotations

from base64 import b64encode
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from dycoke_cli.runs.remote.served_model import as_video
from dycoke_cli.server.chat import ChatRequest
from dycoke_cli.server.refused import Refused
from tests.server.requests import about as read
from tests.server.requests import ask_of, clips_of

MOST = 8
MP4 = f"data:video/mp4;base64,{b64encode(b'video').decode()}"


def jpegs(count: int) -> str:
    """The url of a list of JPEGs; the one of number n is n times 16 bright."""
    frames = np.stack([np.full((16, 16, 3), 16 * n, np.uint8) for n in range(count)])
    return str(as_video(frames, range(count)).parts[0]["video_url"]["url"])


def requested(*urls: str, **about: Any) -> ChatRequest:
    parts = [{"type": "video_url", "video_url": {"url": url}} for url in urls]
    return read(*parts, most=MOST, media_io_kwargs={"video": about})


@pytest.mark.parametrize(
    ("count", "about", "times_s", "duration_s"),
    [
        # As vLLM's clients send them: index / fps.
        (3, {"frames_indices": [0, 10, 20], "fps": 30, "total_num_frames": 380, "duration": 12.7},
         [0, 1 / 3, 2 / 3], 12.7),
        (3, {"frames_indices": [90, 100, 170], "fps": 10, "total_num_frames": 600},
         [9, 10, 17], 60),
        (4, {"fps": 1000.0, "frames_indices": [600000, 600001, 601500, 603000]},
         [600, 600.001, 601.5, 603], 603.001),
        (3, {"fps": 2000, "frames_indices": [0, 1, 2]}, [0, 0.0005, 0.001], 0.0015),
        (3, {"fps": 2}, [0, 0.5, 1], 1.5),
        (3, {}, [0, 1, 2], 3),
        # Of more than the server allows, evenly spaced ones with their own times.
        (15, {"fps": 1, "frames_indices": [n * n for n in range(15)], "num_frames": -1},
         [n * n for n in range(0, 15, 2)], 197),
        (3, {"frames_indices": [0, 2, 4], "num_frames": 2, "do_sample_frames": False}, [0, 4], 5),
    ],
    ids=str,
)  # fmt: skip
def test_times_are_those_of_the_request(
    count: int, about: dict[str, Any], times_s: list[float], duration_s: float
) -> None:
    [clip] = clips_of(requested(jpegs(count), **about))
    assert clip.timestamps_s == pytest.approx(times_s)
    assert clip.info.duration_s == pytest.approx(duration_s)
    assert clip.info.fps == about.get("fps", 1)
    assert clip.info.frame_count == pytest.approx(duration_s * clip.info.fps, abs=1)
    numbers = [round(frame.mean() / 16) for frame in clip.frames]
    if len(numbers) == count:
        assert numbers == [*range(count)]
    indices = about.get("frames_indices", range(count))
    assert [indices[n] / clip.info.fps for n in numbers] == pytest.approx(clip.timestamps_s)


@pytest.mark.parametrize(
    ("urls", "about", "sentence"),
    [
        ([jpegs(3)], {"frames_indices": [0, 1]}, "frames_indices has 2 indices for 3 JPEGs"),
        ([jpegs(3)], {"frames_indices": [2, 1, 0]}, "ascending frame numbers"),
        ([jpegs(3)], {"frames_indices": []}, "ascending frame numbers"),
        ([jpegs(3)], {"frames_indices": [0, 1, True]}, "ascending frame numbers"),
        ([jpegs(3)], {"frames_indices": [0, 1.5, 2]}, "ascending frame numbers"),
        ([jpegs(3)], {"frames_indices": [-1, 0, 1]}, "ascending frame numbers"),
        ([jpegs(3)], {"frames_indices": [0, 1, 10**400]}, "ascending frame numbers"),
        ([jpegs(3)], {"frames_indices": "0,1,2"}, "ascending frame numbers"),
        ([jpegs(3)], {"total_num_frames": 2}, "total_num_frames must be 3 or more"),
        ([jpegs(3)], {"total_num_frames": 0}, "total_num_frames must be from 1"),
        ([jpegs(3)], {"total_num_frames": 3.5}, "total_num_frames must be a number without"),
        ([jpegs(3)], {"duration": -1}, "duration must be 0 or more"),
        ([jpegs(3)], {"duration": 10**400}, "duration must be 0 or more"),
        ([jpegs(3)], {"duration": "1"}, "duration must be a number"),
        ([jpegs(3)], {"fps": 1e-300}, "fps is so low"),
        ([MP4], {"frames_indices": [0, 1]}, "frames_indices is for pictures or a list of JPEGs"),
        ([MP4], {"duration": 5}, "duration is for pictures or a list of JPEGs"),
        ([jpegs(3), MP4], {"total_num_frames": 9}, "total_num_frames is for pictures"),
    ],
)
def test_what_is_no_time_of_a_list(urls: list[str], about: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        clips_of(requested(*urls, **about))
    assert str(caught.value.parameter).startswith("media_io_kwargs.video.")


def test_equal_jpegs_at_other_times_are_another_video() -> None:
    times = ((1, [0, 1]), (1, [0, 2]), (2, [0, 2]), (2000, [0, 2]), (3000, [0, 2]))
    with ExitStack() as files:
        asks = [
            ask_of(requested(jpegs(2), fps=fps, frames_indices=indices), files)
            for fps, indices in [*times, times[0]]
        ]
    assert len({ask.read for ask in asks}) == 5
    assert asks[0].read == asks[-1].read

"""Rendered videos: which frames are rendered, and that they are sampled as pictures are."""

from __future__ import annotations

import pickle
from concurrent.futures import Future

import numpy as np
import pytest

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.reading import Readers, Reading
from dycoke_cli.video import Decoder, Sampling
from dycoke_cli.video.frames import FrameResize
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.pictures import Rendered
from tests.runs.parts import REQUEST
from tests.video.inside import read


def gray(number: int) -> np.ndarray:
    """A frame whose brightness is its number."""
    return np.full((6, 8, 3), number % 256, np.uint8)


def counted(count: int) -> tuple[Rendered, list[int]]:
    """A video of that many frames, and the numbers of those that were rendered."""
    drawn: list[int] = []

    def frame(number: int) -> np.ndarray:
        drawn.append(number)
        return gray(number)

    return Rendered("drawn", count, frame), drawn


def test_only_the_frames_that_are_sampled_are_rendered() -> None:
    video, drawn = counted(3600)
    clip = read(video, Sampling(frames=4))
    # By hand: from the first to the last, 3,599 s apart, at the nearest whole seconds.
    assert clip.timestamps_s == (0.0, 1200.0, 2399.0, 3599.0)
    assert set(drawn) == {0, 1200, 2399, 3599}
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 1200 % 256, 2399 % 256, 3599 % 256]
    assert clip.frames.shape == (4, 6, 8, 3)
    assert clip.info.duration_s == 3600
    assert not clip.warnings


@pytest.mark.parametrize(
    ("sampling", "numbers"),
    [
        (Sampling(fps=1.0), range(8)),
        (Sampling(fps=0.5), range(0, 8, 2)),
        (Sampling(frames=3, start_s=5.0), [5, 6, 7]),
        (Sampling(frames=2, start_s=1.0, end_s=4.0), [1, 3]),
        (Sampling(frames=99), range(8)),
    ],
)
def test_sampling_is_that_of_pictures(
    sampling: Sampling, numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, _ = counted(8)
    # No process is started: nothing is decoded.
    monkeypatch.delattr(Decoder, "start")
    with Decoder() as decoder:
        clip = decoder.read(video, sampling)
    assert clip.frames[:, 0, 0, 0].tolist() == [*numbers]
    assert (clip.frames == read(video, sampling).frames).all()


def test_frames_are_resized_one_by_one_for_a_model() -> None:
    video, _ = counted(5)
    half = FrameResize((6, 8), (3, 4), "bilinear", False, True, True)
    fit: Future = Future()
    fit.set_result(lambda *_: half)
    with Decoder() as decoder:
        clip = decoder.read(video, Sampling(fps=1.0), fit=fit)
    assert clip.frames.shape == (5, 3, 4, 3)
    assert clip.frames[:, 1, 1, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_question_reads_its_rendered_video() -> None:
    video = pickle.loads(pickle.dumps(Rendered("drawn", 6, gray)))  # as a worker gets it
    ask = Ask("What?", REQUEST, (Footage(video, "v"),))  # of two frames
    readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None, 1)
    reading = Reading(ask, decoded=True, urgent=True)
    readers.read(reading)
    reading.wait()
    readers.close()
    [clip] = reading.clips
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 5]


def test_a_start_beyond_the_end() -> None:
    with pytest.raises(UsageError, match=r"lies beyond the end of the video, which is 6\.0 s long"):
        read(Rendered("drawn", 6, gray), Sampling(start_s=7.0))

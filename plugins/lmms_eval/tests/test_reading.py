"""Videos come in the order of the jobs, each once, and only a few before they are wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.runs.jobs import Job, Video
from dycoke_cli.runs.read_ahead import DecodedJob
from dycoke_cli.video import Sampling
from dycoke_lmms_eval import reading
from dycoke_lmms_eval.reading import AHEAD, Reading

SAMPLING = Sampling(frames=2)


def jobs(count: int, drawn: list[int]) -> Iterator[Job]:
    for number in range(count):
        drawn.append(number)
        yield Job(Video(str(number), str(number), str(number)), ())


def test_order_and_how_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowest_first(job: Job, sampling: Sampling) -> DecodedJob:
        assert sampling is SAMPLING
        time.sleep(0.02 if job.video.path == "0" else 0)
        return DecodedJob(job, None, 0.0)

    monkeypatch.setattr(reading, "read_here", slowest_first)
    drawn: list[int] = []
    with ThreadPoolExecutor(AHEAD) as threads:
        videos = Reading(jobs(9, drawn), SAMPLING, threads)
        assert drawn == [*range(AHEAD)]
        taken = []
        while not videos.ended:
            read = videos.take(10.0)
            assert read is not None
            taken.append(read.job.video.path)
            assert len(drawn) <= len(taken) + AHEAD
        assert taken == [str(number) for number in range(9)]
        assert videos.take(0.0) is None


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(job: Job, sampling: Sampling) -> DecodedJob:
        time.sleep(0.2)
        return DecodedJob(job, None, 0.0)

    monkeypatch.setattr(reading, "read_here", slow)
    with ThreadPoolExecutor(AHEAD) as threads:
        videos = Reading(jobs(1, []), SAMPLING, threads)
        assert videos.take(0.0) is None
        assert not videos.ended
        assert videos.take(10.0) is not None
        assert videos.ended


def test_a_video_that_cannot_be_read_comes_with_its_reason(tmp_path: Path) -> None:
    job = Job(Video(*[str(tmp_path / "missing.mp4")] * 3), ())
    with ThreadPoolExecutor(AHEAD) as threads:
        read = Reading([job], SAMPLING, threads).take(60.0)
    assert read is not None
    assert isinstance(read.clip, VideoError)

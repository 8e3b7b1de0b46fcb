"""Videos come in the order of the jobs, each once, and only a few before they are wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import VideoError
from dycoke_cli.models.load import load
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import choose
from dycoke_cli.request import Request
from dycoke_cli.runs.answering import Answerer, answer_all
from dycoke_cli.runs.jobs import Job, JobQuestion, Video
from dycoke_cli.runs.listener import Listener
from dycoke_cli.loop.plan import plan_of
from dycoke_cli.runs.read_ahead import DecodedJob
from dycoke_cli.video import Sampling
from dycoke_lmms_eval import reading
from dycoke_lmms_eval.reading import AHEAD, Reading, videos_of
from tests.cli.harness import CLIP, run_here

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


@pytest.mark.slow
@pytest.mark.parametrize("budget", [60, None])
def test_videos_come_in_windows_with_a_budget_of_tokens(budget: int | None) -> None:
    """Answered as by `dycoke ask` with --max-tokens; without one all frames come at once."""
    given = LoadOptions(device="cpu")
    request = Request(
        "mini", given, Sampling(fps=10), DyCokePlus(), GenerationOptions(max_new_tokens=6),
        max_tokens=budget,
    )  # fmt: skip
    plan = plan_of(request, choose("mini", given))
    questions = ("What happens?", "How many objects are there?")
    job = Job(Video(*[str(CLIP)] * 3), tuple(JobQuestion(q, q) for q in questions))
    answerer = Answerer(load("mini", device="cpu"), plan)
    with videos_of([job], plan, answerer.fit) as videos:
        lines = [one.line for some in answer_all(videos, answerer, Listener()) for one in some]
    flags = ["--fps", "10", "--method", "dycoke-plus", "--max-new-tokens", "6", "--device", "cpu"]
    more = [] if budget is None else ["--max-tokens", str(budget)]
    asked = [word for question in questions for word in ("-q", question)]
    found = run_here("ask", CLIP, *asked, "--model", "mini", *flags, *more, "--json").objects
    assert [line["question"] for line in lines] == [*questions]
    for line, own in zip(lines, found, strict=True):
        assert line["answer"] == own["answer"]
        assert line.get("windows") == own.get("windows")
        assert line["tokens"]["visual_kept"] == own["tokens"]["visual_kept"]
    assert ("windows" in lines[0]) == (budget is not None)

"""What answers in place of a model, in workers on Ray: each way in which a worker can end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs.jobs import Job, JobQuestion, Video
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.loop.plan import Plan
from dycoke_cli.runs.worker import AnswerSlice
from dycoke_cli.video import Sampling


class Nothing:
    """In place of a method: those would make each worker import torch."""

    name = "nothing"

    def parameters(self) -> dict[str, float]:
        return {}


PLAN = Plan(
    model="pretended",
    loading=LoadOptions(device="cpu"),
    method=Method(),
    sampling=Sampling(),
    generation=GenerationOptions(max_new_tokens=8),
    identity={"name": "pretended"},
)
DEADLY = "deadly"
SECONDS = 0.3


def jobs_named(folder: Path, *names: str) -> list[Job]:
    """A job a name, with two questions; there are no such files."""
    questions = (JobQuestion(None, "What?"), JobQuestion(None, "Where?"))
    return [Job(Video(str(folder / name), name, name), questions) for name in names]


def pretend(plan: Plan, threads: int) -> AnswerSlice:
    """Takes a while for each video, and dies of those named so; a diary tells of it."""

    def answer(jobs: Sequence[Job]) -> list[Outcome]:
        found = []
        for job in jobs:
            path = Path(job.video.path)
            with (path.parent / "diary").open("a") as diary:
                diary.write(f"{path.name}\n")
            if path.name.startswith(DEADLY):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(SECONDS)
            found += [_outcome(job, asked, plan, threads) for asked in job.questions]
        return found

    return answer


def cannot_load(plan: Plan, threads: int) -> AnswerSlice:
    """There is no such model on the workers' machines."""
    raise ModelError("this machine hasn't got the model")


def _outcome(job: Job, asked: JobQuestion, plan: Plan, threads: int) -> Outcome:
    known = {"video": job.video.shown, "question": asked.text, "answer": "so", "pid": os.getpid()}
    return Outcome(plan.key(job, asked), {**known, "threads": threads})

"""What answers in place of a model, in workers on Ray: each way in which a worker can end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.batch.jobs import Asked, Job, Video
from dycoke_cli.batch.outcome import Outcome
from dycoke_cli.batch.plan import How
from dycoke_cli.batch.slices import AnswerSlice
from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.video import Sampling

HOW = How(
    model="pretended",
    loading=LoadOptions(device="cpu"),
    method=Method(),
    sampling=Sampling(),
    decoding=GenerationOptions(8, 0.0, None, False),
    identity={"name": "pretended"},
)
DEADLY = "deadly"
SECONDS = 0.3


def jobs_named(folder: Path, *names: str) -> list[Job]:
    """A job a name, with two questions; there are no such files."""
    questions = (Asked(None, "What?"), Asked(None, "Where?"))
    return [Job(Video(str(folder / name), name, name), questions) for name in names]


def pretend(how: How, threads: int) -> AnswerSlice:
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
            found += [_outcome(job, asked, how, threads) for asked in job.questions]
        return found

    return answer


def cannot_load(how: How, threads: int) -> AnswerSlice:
    """There is no such model on the workers' machines."""
    raise ModelError("this machine hasn't got the model")


def _outcome(job: Job, asked: Asked, how: How, threads: int) -> Outcome:
    known = {"video": job.video.shown, "question": asked.text, "answer": "so", "pid": os.getpid()}
    return Outcome(how.key(job, asked), {**known, "threads": threads})

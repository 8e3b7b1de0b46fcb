"""JSON objects of `POST /local/batch`, which streams in both directions.

The body is a line with a `Batch`, a line with a `BatchJob` for each video, and `END`. The events
are "plan", an "outcome" for each question, and "done" or "error". A line with `STOP` ends the batch
after the answers under way.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from dycoke_cli.runs.jobs import Asked, Job, Video
from dycoke_cli.server.local.wire import Setup

END = {"end": True}
"""The line behind the last video."""
STOP = {"stop": True}
"""The line by which a batch ends early."""


@dataclass(frozen=True)
class Batch:
    """How the videos of a batch are asked about.

    Args:
        setup: how questions are asked.
        batch_size: see `Plan`.
    """

    setup: Setup
    batch_size: int | None


@dataclass(frozen=True)
class BatchQuestion:
    """See `Asked`."""

    id: str | None
    text: str


@dataclass(frozen=True)
class BatchJob:
    """A video with its questions, see `Job`; the path is a whole one."""

    path: str
    shown: str
    name: str
    digest: str | None
    questions: tuple[BatchQuestion, ...]

    def job(self) -> Job:
        """As the engine takes it."""
        video = Video(self.path, self.shown, self.name)
        return Job(video, tuple(Asked(one.id, one.text) for one in self.questions), self.digest)


def batch_job_of(job: Job) -> BatchJob:
    """The line of a video."""
    video = job.video
    return BatchJob(
        os.path.abspath(video.path),
        video.shown,
        video.name,
        job.digest,
        tuple(BatchQuestion(asked.id, asked.text) for asked in job.questions),
    )

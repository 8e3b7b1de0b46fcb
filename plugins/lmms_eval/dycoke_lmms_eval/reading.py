"""Videos that are read while the model works, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from dycoke_cli.runs.answering import Videos
from dycoke_cli.runs.jobs import Job
from dycoke_cli.loop.plan import Plan
from dycoke_cli.runs.read_ahead import DecodedJob, ReadAhead, read_here
from dycoke_cli.video import Sampling
from dycoke_cli.video.kept_frames import Fit

AHEAD = 4
"""Videos that are read, or being read, before they are wanted."""


@contextmanager
def videos_of(jobs: Iterable[Job], plan: Plan, fit: Future[Fit]) -> Iterator[Videos]:
    """The videos of jobs, as they are read within the block.

    Args:
        jobs: the videos.
        plan: of the run; with `max_tokens` videos come in windows, from a process each.
        fit: resize of the model.
    """
    if plan.max_tokens is not None:
        with ReadAhead(jobs, plan.sampling, plan.limits, fit=fit, in_windows=True) as ahead:
            yield ahead
        return
    with ThreadPoolExecutor(AHEAD) as threads:
        yield Reading(jobs, plan.sampling, threads)


class Reading:
    """Videos as threads read them ahead, in the order of the jobs: `Videos` of `answer_all`.

    Not in the processes of `ReadAhead`: each would import lmms-eval anew, and torch with it.

    Args:
        jobs: the videos.
        sampling: which frames, where a job says nothing else.
        threads: that read.
    """

    def __init__(
        self, jobs: Iterable[Job], sampling: Sampling, threads: ThreadPoolExecutor
    ) -> None:
        self._jobs = iter(jobs)
        self._sampling = sampling
        self._threads = threads
        self._reads: deque[Future[DecodedJob]] = deque()
        for _ in range(AHEAD):
            self._begin()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return not self._reads

    def take(self, timeout_s: float) -> DecodedJob | None:
        """The next video; None where it doesn't come in that time, or none will."""
        if not self._reads:
            return None
        try:
            read = self._reads[0].result(timeout_s)
        except TimeoutError:
            return None
        self._reads.popleft()
        self._begin()
        return read

    def _begin(self) -> None:
        job = next(self._jobs, None)
        if job is not None:
            self._reads.append(self._threads.submit(read_here, job, self._sampling))

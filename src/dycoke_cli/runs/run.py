"""Runs jobs: an engine answers the questions without a result, and each result is written at once.

Ctrl-C ends a run after the answers under way; a second one ends it at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

from dycoke_cli.runs.jobs import Job, digest_of
from dycoke_cli.runs.listener import Counts, Listener
from dycoke_cli.runs.outcome import Outcome, reason
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.results import Results, ResultsFile
from dycoke_cli.video.subtitles import find_source

# Failures of earlier runs whose reasons are shown.
_NAMED = 3

Engine = Callable[[Iterable[Job], Plan, Listener], Iterator[Outcome]]
"""Answers all questions of all jobs, in any order, with exactly one outcome for each."""


def run(
    jobs: Sequence[Job],
    plan: Plan,
    results: Results,
    engine: Engine,
    listener: Listener,
    *,
    retry_failed: bool = False,
    fail_fast: bool = False,
    answered_before: int = 0,
) -> Counts:
    """Answer the questions that have no result yet.

    Args:
        jobs: all videos of the run with all their questions.
        plan: how they are answered.
        results: where the results go; only this function writes there.
        engine: answers the questions.
        listener: receives progress.
        retry_failed: ask the questions again that failed in an earlier run.
        fail_fast: end the run at the first failure.
        answered_before: number of answered questions that aren't among the jobs.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; all answers under way have been written.
        OutputError: a result can't be written.
        DycokeError: the engine can't answer anything.
    """
    progress = _Progress(jobs, plan, results, retry_failed, answered_before)
    counts = progress.counts
    with _interruptible(listener):
        outcomes: Any = engine(progress.left(), plan, listener)
        # If writing fails, the engine's processes are to end now, not when it is garbage-collected.
        with closing(outcomes):
            listener.progress(counts)
            for outcome in outcomes:
                results.add(outcome)  # first: whatever is shown as done is in the file
                progress.note(outcome)
                if outcome.failed:
                    listener.failed(reason(outcome.line))
                listener.progress(counts)
                if fail_fast and outcome.failed:
                    listener.stopping = True
        listener.progress(counts)
    return counts


def finished(
    jobs: Sequence[Job], plan: Plan, results: ResultsFile, *, retry_failed: bool = False
) -> Counts | None:
    """Counts of a run whose questions all have a result, or failed and aren't retried; else None.

    Args: as of `run`.
    """
    progress = _Progress(jobs, plan, results, retry_failed, 0)
    # First what takes no time: `left` hashes the videos.
    if results.questions < progress.counts.questions or any(progress.left()):
        return None
    return progress.counts


@contextmanager
def _interruptible(listener: Listener) -> Iterator[None]:
    """Delay an interrupt until the run has ended on its own.

    Args:
        listener: its `stopping` is set. Before it is `ready`, no answer is under way.

    Raises:
        KeyboardInterrupt: at the end of the block; at once if not `ready`, or if it is the second.
    """
    came = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        if came or not listener.ready:
            raise KeyboardInterrupt
        came = listener.stopping = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _described(job: Job, plan: Plan) -> Job:
    """A job with the digests of its files, which are part of its keys."""
    path = job.video.path
    if plan.subtitles is None:
        return replace(job, digest=digest_of(path))
    subtitles = find_source(path, plan.subtitles, required=False)
    if subtitles.path is not None:
        subtitles = replace(subtitles, digest=digest_of(subtitles.path))
    return replace(job, digest=digest_of(path), subtitles=subtitles)


class _Progress:
    """The questions that are left, and the counts of those that are done."""

    def __init__(
        self,
        jobs: Sequence[Job],
        plan: Plan,
        results: Results,
        retry_failed: bool,
        answered_before: int,
    ) -> None:
        questions = answered_before + sum(len(job.questions) for job in jobs)
        self.counts = Counts(len(jobs), questions, skipped=answered_before)
        self._jobs = jobs
        self._plan = plan
        self._results = results
        self._retry_failed = retry_failed
        self._asked: dict[str, int] = {}
        self._left_of: dict[int, int] = {}

    def left(self) -> Iterator[Job]:
        """The jobs with their questions that have no result; a generator.

        A file is hashed when its job is drawn, so that the first answer doesn't wait for all files.
        Engines may draw jobs in another thread: no other function changes the counts of this one.
        """
        counts = self.counts
        for number, job in enumerate(self._jobs):
            job = _described(job, self._plan)
            missing = []
            for question in job.questions:
                key = self._plan.key(job, question)
                state = self._results.state(key)
                if state == "answered":
                    counts.skipped += 1
                elif state == "failed" and not self._retry_failed:
                    counts.skipped_failed += 1
                    if len(counts.earlier) < _NAMED:
                        counts.earlier.append(self._results.reasons[key])
                else:
                    missing.append(question)
                    self._asked[key] = number
            self._left_of[number] = len(missing)
            if missing:
                yield replace(job, questions=tuple(missing))
            else:
                counts.videos_skipped += 1

    def note(self, outcome: Outcome) -> None:
        """Count an outcome."""
        counts, number = self.counts, self._asked.pop(outcome.key)
        self._left_of[number] -= 1
        if not self._left_of[number]:
            counts.videos_answered += 1
        if outcome.failed:
            counts.failed += 1
        elif outcome.refused:
            counts.refused += 1
        else:
            counts.answered += 1
            counts.tokens += outcome.line["tokens"]["generated"] or 0  # a server may not report it

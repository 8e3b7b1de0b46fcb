"""The engine that answers in this process: videos are read in others, ahead of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from dycoke_cli.runs.answering import Answerer, load_answerer
from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.read_ahead import ReadAhead

# What waits for others of its shape waits no longer than this where nothing comes.
PATIENCE_S = 1.0


def answers(jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
    """Answer all questions of all jobs.

    Raises:
        ModelError: the model can't be loaded.
        UsageError: it can't be asked with that method.
    """
    jobs = iter(jobs)
    first = next(jobs, None)
    if first is None:
        return
    with ReadAhead(chain([first], jobs), plan.sampling) as ahead:
        listener.loading()
        answerer = load_answerer(plan)
        listener.ready = True
        yield from answer_all(ahead, answerer, listener)


def answer_all(ahead: ReadAhead, answerer: Answerer, listener: Listener) -> Iterator[Outcome]:
    """Answer all questions about videos as they are read."""
    while not listener.stopping:
        if answerer.full:
            yield from answerer.answer()
            continue
        read = ahead.take(PATIENCE_S)
        if read is not None:
            yield from answerer.add(read)
        elif answerer.waiting:
            yield from answerer.answer()
        elif ahead.ended:
            return

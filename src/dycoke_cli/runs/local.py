"""The engine that answers on this machine: videos are read in processes, ahead of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import chain

from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.pool import answers_of_workers
from dycoke_cli.runs.read_ahead import ReadAhead
from dycoke_cli.video.kept_frames import Fit


def answers(jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
    """Answer all questions of all jobs.

    Raises:
        ModelError: the model can't be loaded.
        UsageError: the model doesn't support the method.
        OutOfMemoryError: the memory is too small for so many workers.
    """
    # A run without open questions doesn't load the model.
    jobs = iter(jobs)
    first = next(jobs, None)
    if first is None:
        return
    loading = "build" if plan.loading.random_weights else "load"
    if plan.workers > 1:
        with ReadAhead(chain([first], jobs), plan.sampling, plan.limits) as ahead:
            listener.stage(loading)
            yield from answers_of_workers(ahead, plan, listener)
        return
    fit = Future[Fit]()
    given = (chain([first], jobs), plan.sampling, plan.limits)
    with ReadAhead(*given, fit=fit, in_windows=plan.max_tokens is not None) as ahead:
        listener.stage(loading)
        # Imported here: with workers, only they import torch and transformers.
        from dycoke_cli.runs.answering import answer_all, load_answerer

        answerer = load_answerer(plan, fit)
        listener.ready = True
        yield from chain.from_iterable(answer_all(ahead, answerer, listener))

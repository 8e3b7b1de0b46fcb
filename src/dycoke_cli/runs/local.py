"""The engine of a run on this machine, in this process or in several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from dycoke_cli.ask import Ask
from dycoke_cli.loop.asker import Asker
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.pool import answers_of_workers
from dycoke_cli.runs.when import answers_of


def answers(
    groups: Iterable[Sequence[Ask]], plan: RunPlan, listener: Listener
) -> Iterator[Outcome]:
    """Answer all questions."""
    # A run without open questions doesn't load the model.
    groups = iter(groups)
    first = next(groups, None)
    if first is None:
        return
    groups = chain([first], groups)
    listener.stage("build" if plan.request.loading.random_weights else "load")
    if plan.workers > 1:
        yield from answers_of_workers(groups, plan, listener)
        return
    with plan.engine() as engine:
        yield from outcomes_of(engine, groups, plan, listener)


def outcomes_of(
    asker: Asker, groups: Iterable[Sequence[Ask]], plan: RunPlan, listener: Listener
) -> Iterator[Outcome]:
    """Have all questions answered. Arguments and errors are those of `answers`."""
    for ask, event in answers_of(asker, groups, listener):
        yield Outcome.of(ask, event)

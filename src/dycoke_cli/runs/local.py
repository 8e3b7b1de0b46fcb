"""The engine of a run on this machine, in this process or in several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from dycoke_cli.ask import Ask
from dycoke_cli.loop.asker import Asker
from dycoke_cli.loop.plan import Plan
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.pool import answers_of_workers
from dycoke_cli.runs.when import answers_when


def answers(groups: Iterable[Sequence[Ask]], plan: Plan, listener: Listener) -> Iterator[Outcome]:
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
        yield from answers_of(engine, groups, plan, listener)


def answers_of(
    asker: Asker, groups: Iterable[Sequence[Ask]], plan: Plan, listener: Listener
) -> Iterator[Outcome]:
    """Have all questions answered. Arguments and errors are those of `answers`."""

    groups = iter(groups)
    first = next(groups, None)
    if first is None:
        return
    groups = chain([first], groups)
    if first[0].when_s is not None:
        yield from answers_when(asker, groups, listener)
        return

    def on_load() -> None:
        listener.ready = True

    for ask, event in asker.answers(groups, lambda: listener.stopping, on_load, listener.note):
        yield Outcome.of(ask, event)

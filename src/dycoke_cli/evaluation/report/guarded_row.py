"""Statistics of a guard's row: how many questions needed each budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.answer import GuardBound
from dycoke_cli.answer.json_schema import Count, Doc
from dycoke_cli.compression.registry import described, name_of
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.guard.ladder import Guard


@dataclass(frozen=True)
class GuardBudget:
    """A budget that a guard may ask with."""

    setting: Annotated[str, Doc("As --method takes it.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    asked: Annotated[Count, Doc("Questions that were asked with it.")]
    kept: Annotated[Count, Doc("Of those, whose answer was certain enough, or the last.")]


@dataclass(frozen=True)
class GuardedRow(GuardBound):
    """A guard, and which budgets its answers took: the value of `guard`."""

    budgets: Annotated[
        tuple[GuardBudget, ...], Doc("In the order in which they are tried.", minItems=1)
    ]


def guarded_row(guard: Guard, answers: Sequence[Prediction]) -> GuardedRow:
    """Count the questions by budget."""
    tried = [max(1, len(one.path)) for one in answers]  # without a threshold the path is empty
    return GuardedRow(
        guard.alpha,
        guard.on_average,
        guard.threshold,
        guard.videos,
        tuple(
            GuardBudget(
                name_of(method),
                described(method),
                sum(n >= place for n in tried),
                tried.count(place),
            )
            for place, method in enumerate(guard.steps, 1)
        ),
    )

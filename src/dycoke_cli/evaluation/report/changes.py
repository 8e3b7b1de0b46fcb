"""Comparison of a method's answers with the baseline's, question by question."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.scoring.statistics import Predictions

Verdict = Literal["fixed", "broken", "still right", "still wrong", "graded"]


@dataclass(frozen=True)
class Changes:
    """Counts of answers that differ from the baseline's."""

    changed: int  # answers with another text
    fixed: int  # wrong→right
    broken: int  # right→wrong


@dataclass(frozen=True)
class Change:
    """An answer that compression changed: an entry of `changes`."""

    model: Annotated[str, Doc("Of the row.")]
    spec: Annotated[str, Doc("Of the row.")]
    video: str
    item: Annotated[str, Doc("Id of the question.")]
    kind: Annotated[str, Doc("Of the question.")]
    question: Annotated[str, Doc("As it was asked.")]
    answer: Annotated[str, Doc("The correct one.")]
    uncompressed: Annotated[str, Doc("The baseline's answer.")]
    said: Annotated[str, Doc("The answer under the method.")]
    outcome: Annotated[
        Verdict,
        Doc("fixed: wrong to right; broken: right to wrong; graded: neither right nor wrong."),
    ]


def count_changes(
    items: Iterable[Item], predictions: Predictions, uncompressed: Predictions
) -> Changes:
    """Count the answers that compression changed."""
    pairs = [(predictions[item.id], uncompressed[item.id]) for item in items]
    return Changes(
        changed=sum(new.said != old.said for new, old in pairs),
        fixed=sum(new.right and not old.right for new, old in pairs),
        broken=sum(old.right and not new.right for new, old in pairs),
    )


def list_changes(
    model: str, spec: str, items: list[Item], predictions: Predictions, uncompressed: Predictions
) -> list[Change]:
    """List the answers of a row that differ from the baseline's."""
    return [
        Change(
            model=model,
            spec=spec,
            video=item.video,
            item=item.id,
            kind=item.kind,
            question=item.question,
            answer=item.answer,
            uncompressed=uncompressed[item.id].said,
            said=predictions[item.id].said,
            outcome=_outcome(uncompressed[item.id], predictions[item.id]),
        )
        for item in items
        if predictions[item.id].said != uncompressed[item.id].said
    ]


def _outcome(before: Prediction, after: Prediction) -> Verdict:
    if before.value is not None or after.value is not None:
        return "graded"
    if before.right == after.right:
        return "still right" if after.right else "still wrong"
    return "fixed" if after.right else "broken"

"""What a method changed, answer by answer, against the uncompressed model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.metrics import Predictions


@dataclass(frozen=True)
class Changes:
    """How the answers differ from the uncompressed model's.

    Args:
        changed: answers with another text.
        fixed: wrong without compression, right with it.
        broken: right without compression, wrong with it.
    """

    changed: int
    fixed: int
    broken: int


@dataclass(frozen=True)
class Change:
    """An answer that compression changed.

    Args:
        spec: the row.
        video: of the question.
        item: the question's id.
        kind: of the question.
        question: as it was asked.
        answer: the right one.
        uncompressed: what the uncompressed model said.
        said: what the model said under the method.
        outcome: "fixed", "broken", "still right" or "still wrong".
    """

    spec: str
    video: str
    item: str
    kind: str
    question: str
    answer: str
    uncompressed: str
    said: str
    outcome: str


def count_changes(items: Iterable[Item], said: Predictions, uncompressed: Predictions) -> Changes:
    """Count what compression changed."""
    pairs = [(said[item.id], uncompressed[item.id]) for item in items]
    return Changes(
        changed=sum(new.said != old.said for new, old in pairs),
        fixed=sum(new.right and not old.right for new, old in pairs),
        broken=sum(old.right and not new.right for new, old in pairs),
    )


def list_changes(
    spec: str, items: list[Item], said: Predictions, uncompressed: Predictions
) -> list[Change]:
    """The answers of a row that differ from the uncompressed model's."""
    return [
        Change(
            spec=spec,
            video=item.video,
            item=item.id,
            kind=item.kind,
            question=item.question,
            answer=item.answer,
            uncompressed=uncompressed[item.id].said,
            said=said[item.id].said,
            outcome=_outcome(uncompressed[item.id].right, said[item.id].right),
        )
        for item in items
        if said[item.id].said != uncompressed[item.id].said
    ]


def _outcome(before: bool, after: bool) -> str:
    if before == after:
        return "still right" if after else "still wrong"
    return "fixed" if after else "broken"

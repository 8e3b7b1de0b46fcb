"""Row of the results table: scores, retention and cost of a method, and what changed by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any, Literal

from dycoke_cli.answer.json_schema import NOT_A_KEY, Doc
from dycoke_cli.evaluation.dataset import ACCURACY, Item
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.presets import PublishedRecord
from dycoke_cli.evaluation.scoring.statistics import (
    Accuracy,
    AmountOrNull,
    Predictions,
    ShareOrNull,
    grouped,
    holm,
    mean_of,
    mean_or_none,
    retention,
)

Verdict = Literal["fixed", "broken", "still right", "still wrong", "graded"]


@dataclass(frozen=True)
class Change:
    """An answer that compression changed: an entry of `changes`."""

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


def list_changes(
    spec: str, items: list[Item], predictions: Predictions, uncompressed: Predictions
) -> tuple[Change, ...]:
    """List the answers of a row that differ from the baseline's."""
    return tuple(
        Change(
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
    )


def _outcome(before: Prediction, after: Prediction) -> Verdict:
    if before.value is not None or after.value is not None:
        return "graded"
    if before.right == after.right:
        return "still right" if after.right else "still wrong"
    return "fixed" if after.right else "broken"


CountOrNull = Annotated[int | None, Doc(minimum=0)]


@dataclass(frozen=True)
class _Asked:
    method: Annotated[str, Doc("Name of the method or ablation.")]
    spec: Annotated[str, Doc("As it was given to --methods.")]
    parameters: Annotated[dict[str, Any], Doc("All of the method's.")]
    frames: Annotated[
        CountOrNull, Doc("Sampled; null where the number differs from video to video.")
    ]


@dataclass(frozen=True)
class ScoredRow(Accuracy, _Asked):
    """One method: an entry of `rows`."""

    difference_p_holm: Annotated[
        ShareOrNull,
        Doc("The same by Holm's step-down procedure, over all rows with a difference_p."),
    ]
    macro_accuracy: Annotated[
        ShareOrNull,
        Doc("Mean over kinds of question, of a benchmark that is reported so."),
    ]
    unparsable: Annotated[int, Doc("Answers that couldn't be understood: wrong.", minimum=0)]
    failed: Annotated[int, Doc("Questions without an answer: wrong.", minimum=0)]
    judge_accuracy: Annotated[
        ShareOrNull, Doc("Share of answers that the judge found correct; null without one.")
    ]
    judge_score: Annotated[
        float | None, Doc("Mean of the judge's scores; null without one.", minimum=0, maximum=5)
    ]
    judge_failed: Annotated[
        CountOrNull, Doc("Answers of which the judge made no verdict: wrong, with score 0.")
    ]
    by_type: Annotated[dict[str, Accuracy], Doc("By kind of question.")]
    by_label: Annotated[dict[str, Accuracy], Doc("By label of the video.")]
    by_part: Annotated[dict[str, Accuracy], Doc("Means of measures that only some kinds have.")]
    kept_before_llm: Annotated[
        AmountOrNull,
        Doc("Retention at prefill: mean share of the visual tokens."),
    ]
    kept_in_decode: Annotated[
        AmountOrNull,
        Doc("Retention at decode: mean share over steps and layers."),
    ]
    kept_in_pruned_layers: Annotated[ShareOrNull, Doc("The same in the pruned layers alone.")]
    changed: Annotated[CountOrNull, Doc("Answers with another text than the baseline's.")]
    fixed: Annotated[CountOrNull, Doc("Wrong to right.")]
    broken: Annotated[CountOrNull, Doc("Right to wrong.")]
    seconds: Annotated[
        AmountOrNull,
        Doc("Mean time per answer, once the video is encoded."),
    ]
    seconds_prefill: Annotated[
        AmountOrNull,
        Doc(
            "Of that, prefill with the selection; the prefill of an earlier question about the "
            "video may be reused."
        ),
    ]
    seconds_decode: Annotated[AmountOrNull, Doc("Of that, decode.")]
    bytes: Annotated[
        AmountOrNull,
        Doc("Mean size of the KV cache at the end of an answer; null where a server answered."),
    ]
    flops: Annotated[
        AmountOrNull,
        Doc(
            "Mean FLOPs of the language model per answer, by the paper's formula; null where they "
            "weren't counted."
        ),
    ]
    published: Annotated[
        PublishedRecord | None, Doc("What others measured, with --preset; null without such a row.")
    ]
    changes: Annotated[tuple[Change, ...], NOT_A_KEY]  # answers that differ from the baseline's


def make_row(
    row: KeptRow,
    items: list[Item],
    predictions: Predictions,
    uncompressed: Predictions | None,
    *,
    metric: str,
    macro: bool,
    grades: Mapping[str, Any] | None = None,
    published: PublishedRecord | None = None,
) -> ScoredRow:
    """Aggregate the answers of a row.

    Args:
        uncompressed: answers of the baseline; None without one, or if this is the baseline.
        grades: what a judge found, by the row's keys of it; None without one.
        published: published figures, or None.
    """

    def accuracy(group: list[Item]) -> Accuracy:
        return mean_of(lambda prediction: prediction.score, group, predictions, uncompressed)

    def by(key: Callable[[Item], str]) -> dict[str, Accuracy]:
        return {name: accuracy(group) for name, group in grouped(items, key).items() if name}

    def mean(value: Callable[[Prediction], float | None]) -> float | None:
        return mean_or_none([value(answer) for answer in answers])

    answers = [one for item in items if (one := predictions[item.id]).error is None]
    overall, kinds = accuracy(items), by(lambda item: item.kind)
    of_kinds = [kind.accuracy for kind in kinds.values() if kind.accuracy is not None]
    changes: tuple[Change, ...] = ()
    if uncompressed is not None:
        changes = list_changes(row.spec.text, items, predictions, uncompressed)
    moved = Counter(change.outcome for change in changes)
    has_moved = uncompressed is not None and metric == ACCURACY
    return ScoredRow(
        method=row.spec.name,
        spec=row.spec.text,
        parameters=dict(row.parameters),
        frames=row.setup.frames,
        **vars(overall),
        difference_p_holm=None,  # known when all rows are: `compared_by_holm`
        macro_accuracy=fmean(of_kinds) if macro and of_kinds else None,
        unparsable=sum(not answer.parsed for answer in answers),
        failed=len(items) - len(answers),
        **(grades or dict.fromkeys(("judge_accuracy", "judge_score", "judge_failed"))),
        by_type=kinds,
        by_label=by(lambda item: item.label),
        by_part=_parts(items, predictions, uncompressed),
        kept_before_llm=retention(answers, lambda one: one.visual_kept),
        kept_in_decode=retention(answers, lambda one: one.visual_read),
        kept_in_pruned_layers=retention(answers, lambda one: one.visual_active),
        changed=None if uncompressed is None else len(changes),
        fixed=moved["fixed"] if has_moved else None,
        broken=moved["broken"] if has_moved else None,
        seconds=mean(lambda one: one.seconds),
        seconds_prefill=mean(lambda one: one.seconds_prefill),
        seconds_decode=mean(lambda one: one.seconds_decode),
        bytes=mean(lambda one: one.bytes),
        flops=mean(lambda one: one.flops),
        published=published,
        changes=changes,
    )


def compared_by_holm(rows: Sequence[ScoredRow]) -> tuple[ScoredRow, ...]:
    """The rows of a report with the p-values of all their comparisons."""
    adjusted = holm([row.difference_p for row in rows])
    return tuple(replace(row, difference_p_holm=p) for row, p in zip(rows, adjusted, strict=True))


def _parts(
    items: list[Item], predictions: Predictions, uncompressed: Predictions | None
) -> dict[str, Accuracy]:
    return {
        name: mean_of(
            lambda prediction, name=name: prediction.parts.get(name, 0.0),  # type: ignore[misc]
            [item for item in items if name in predictions[item.id].parts],
            predictions,
            uncompressed,
        )
        for name in dict.fromkeys(name for item in items for name in predictions[item.id].parts)
    }

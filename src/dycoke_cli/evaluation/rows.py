"""One line of the table: what the answers under one method amount to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Annotated, Any

from dycoke_cli.compression.base import Method
from dycoke_cli.evaluation.changes import count_changes
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.metrics import (
    Predictions,
    grouped,
    known_mean,
    mean_of,
    retention,
)
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.json_schema import Doc
from dycoke_cli.result import Amount

Share = Annotated[float, Doc(minimum=0, maximum=1)]
ShareOrNull = Annotated[float | None, Doc(minimum=0, maximum=1)]
CountOrNull = Annotated[int | None, Doc(minimum=0)]
AmountOrNull = Annotated[float | None, Doc(minimum=0)]


StandardError = Annotated[Amount, Doc("Clustered by video.")]
Difference = Annotated[
    float | None,
    Doc("From the baseline on the same questions; null without one.", minimum=-1, maximum=1),
]
DifferenceError = Annotated[
    float | None, Doc("Standard error of difference, paired and clustered.", minimum=0)
]


@dataclass(frozen=True)
class Accuracy:
    """The share of correct answers to some questions."""

    questions: Annotated[int, Doc(minimum=1)]
    accuracy: Share
    standard_error: StandardError
    difference: Difference
    difference_error: DifferenceError


@dataclass(frozen=True)
class PartMean:
    """The mean of a measure that only some kinds of questions have."""

    questions: Annotated[int, Doc(minimum=1)]
    mean: Share
    standard_error: StandardError
    difference: Difference
    difference_error: DifferenceError


@dataclass(frozen=True)
class Row:
    """One method: an entry of `rows`."""

    method: Annotated[str, Doc("Name of the method or ablation.")]
    spec: Annotated[str, Doc("As it was given to --methods.")]
    parameters: Annotated[dict[str, Any], Doc("All of the method's.")]
    frames: Annotated[
        CountOrNull, Doc("That the model was given; null where that differs from video to video.")
    ]
    questions: Annotated[int, Doc(minimum=1)]
    accuracy: Share
    standard_error: StandardError
    difference: Difference
    difference_error: DifferenceError
    by_type: Annotated[dict[str, Accuracy], Doc("By kind of question.")]
    by_label: Annotated[dict[str, Accuracy], Doc("By label of the video.")]
    by_part: Annotated[dict[str, PartMean], Doc("Measures that only some kinds have.")]
    kept_before_llm: Annotated[
        ShareOrNull, Doc("Retention at prefill: mean share of the visual tokens.")
    ]
    kept_in_decode: Annotated[
        ShareOrNull, Doc("Retention at decode: mean share over steps and layers.")
    ]
    kept_in_pruned_layers: Annotated[ShareOrNull, Doc("The same in the pruned layers alone.")]
    changed: Annotated[CountOrNull, Doc("Answers with another text than the baseline's.")]
    fixed: Annotated[CountOrNull, Doc("Wrong to right.")]
    broken: Annotated[CountOrNull, Doc("Right to wrong.")]
    seconds: Annotated[Amount, Doc("Mean time per answer, once the video is encoded.")]
    seconds_prefill: Annotated[
        AmountOrNull,
        Doc(
            "Of that, to the first token, the selection included; what was prefilled for an "
            "earlier question about the video may be reused. Null where an earlier release "
            "answered."
        ),
    ]
    seconds_decode: Annotated[AmountOrNull, Doc("Of that, behind the first token.")]
    bytes: Annotated[Amount, Doc("Mean size of the KV cache at the end of an answer.")]


def make_row(
    spec: str,
    name: str,
    method: Method,
    frames: int | None,
    items: list[Item],
    said: Predictions,
    uncompressed: Predictions | None,
) -> Row:
    """Count the answers of one row.

    Args:
        spec: as it was given.
        name: of the method or ablation.
        method: with all its parameters.
        frames: that the model was given; None where that differs from video to video.
        items: the questions.
        said: their answers.
        uncompressed: answers of the baseline, or None (also where this is it).
    """

    def right(prediction: Prediction) -> float:
        return float(prediction.right)

    def accuracy(group: list[Item]) -> Accuracy:
        return Accuracy(*astuple(mean_of(right, group, said, uncompressed)))

    def by(key: Callable[[Item], str]) -> dict[str, Accuracy]:
        return {name: accuracy(group) for name, group in grouped(items, key).items()}

    answers = [said[item.id] for item in items]
    kept = retention(answers)
    moved = None if uncompressed is None else count_changes(items, said, uncompressed)
    return Row(
        method=name,
        spec=spec,
        parameters=method.parameters(),
        frames=frames,
        **vars(accuracy(items)),
        by_type=by(lambda item: item.kind),
        by_label=by(lambda item: item.label),
        by_part=_parts(items, said, uncompressed),
        kept_before_llm=kept.prefill,
        kept_in_decode=kept.decode,
        kept_in_pruned_layers=kept.pruned_layers,
        changed=moved.changed if moved else None,
        fixed=moved.fixed if moved else None,
        broken=moved.broken if moved else None,
        seconds=sum(answer.seconds for answer in answers) / len(answers),
        seconds_prefill=known_mean([answer.seconds_prefill for answer in answers]),
        seconds_decode=known_mean([answer.seconds_decode for answer in answers]),
        bytes=sum(answer.bytes for answer in answers) / len(answers),
    )


def _parts(
    items: list[Item], said: Predictions, uncompressed: Predictions | None
) -> dict[str, PartMean]:
    names = dict.fromkeys(name for item in items for name in said[item.id].parts)
    return {
        name: PartMean(
            *astuple(
                mean_of(
                    lambda prediction, name=name: prediction.parts[name],  # type: ignore[misc]
                    [item for item in items if name in said[item.id].parts],
                    said,
                    uncompressed,
                )
            )
        )
        for name in names
    }

"""One line of the table: what the answers under one method amount to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dycoke_cli.evaluation.changes import Changes, count_changes
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.metrics import Mean, Predictions, Retention, grouped, mean_of, retention
from dycoke_cli.evaluation.prediction import Prediction, Setup


@dataclass(frozen=True)
class Row:
    """One method.

    Args:
        spec: as it was given to `--methods`.
        name: of the method or ablation.
        parameters: every one of the method's.
        frames: how many the model saw; None where that differs from video to video.
        accuracy: over all questions.
        by_type: accuracy by kind of question.
        by_label: accuracy by label of the video.
        by_part: means of the measures that only some kinds have.
        retention: shares of the visual tokens that were read.
        changes: from the uncompressed model, or None where this is it or it didn't run.
        seconds: mean time of an answer, once the video is encoded.
        bytes: mean size of the keys and values held at its end.
    """

    spec: str
    name: str
    parameters: dict[str, Any]
    frames: int | None
    accuracy: Mean
    by_type: dict[str, Mean]
    by_label: dict[str, Mean]
    by_part: dict[str, Mean]
    retention: Retention
    changes: Changes | None
    seconds: float
    bytes: float

    def to_dict(self) -> dict[str, Any]:
        """The entry of `rows`."""
        moved = self.changes
        return {
            "method": self.name,
            "spec": self.spec,
            "parameters": self.parameters,
            "frames": self.frames,
            **self.accuracy.to_dict("accuracy"),
            "by_type": {kind: mean.to_dict("accuracy") for kind, mean in self.by_type.items()},
            "by_label": {label: mean.to_dict("accuracy") for label, mean in self.by_label.items()},
            "by_part": {part: mean.to_dict("mean") for part, mean in self.by_part.items()},
            "kept_before_llm": self.retention.prefill,
            "kept_in_decode": self.retention.decode,
            "kept_in_pruned_layers": self.retention.pruned_layers,
            "changed": moved.changed if moved else None,
            "fixed": moved.fixed if moved else None,
            "broken": moved.broken if moved else None,
            "seconds": self.seconds,
            "bytes": self.bytes,
        }


def make_row(
    spec: str,
    name: str,
    setup: Setup,
    items: list[Item],
    said: Predictions,
    uncompressed: Predictions | None,
) -> Row:
    """Count the answers of one row.

    Args:
        spec: as it was given.
        name: of the method or ablation.
        setup: under which the answers were made.
        items: the questions.
        said: their answers.
        uncompressed: answers of the uncompressed model, or None (also where this is it).
    """

    def right(prediction: Prediction) -> float:
        return float(prediction.right)

    def means(groups: dict[str, list[Item]]) -> dict[str, Mean]:
        return {key: mean_of(right, group, said, uncompressed) for key, group in groups.items()}

    answers = [said[item.id] for item in items]
    return Row(
        spec=spec,
        name=name,
        parameters={key: value for key, value in setup.method.items() if key != "name"},
        frames=setup.frames,
        accuracy=mean_of(right, items, said, uncompressed),
        by_type=means(grouped(items, lambda item: item.kind)),
        by_label=means(grouped(items, lambda item: item.label)),
        by_part=_parts(items, said, uncompressed),
        retention=retention(answers),
        changes=None if uncompressed is None else count_changes(items, said, uncompressed),
        seconds=sum(answer.seconds for answer in answers) / len(answers),
        bytes=sum(answer.bytes for answer in answers) / len(answers),
    )


def _parts(
    items: list[Item], said: Predictions, uncompressed: Predictions | None
) -> dict[str, Mean]:
    names = dict.fromkeys(name for item in items for name in said[item.id].parts)
    return {
        name: mean_of(
            lambda prediction, name=name: prediction.parts[name],  # type: ignore[misc]
            [item for item in items if name in said[item.id].parts],
            said,
            uncompressed,
        )
        for name in names
    }

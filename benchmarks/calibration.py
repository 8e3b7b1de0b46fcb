"""What compression does to a model's confidence: letters, probabilities and their calibration.

`python -m benchmarks.calibration --write` makes the table of the kept answers to multiple-choice
questions of `shapes`, both ways under each method. This file at commit 4a3dca73 asked them.
"""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cells import table_lines
from benchmarks.comparison_tables import LAYERS
from benchmarks.kept_tables import report
from benchmarks.page import ROOT
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.report.scored_row import (
    ProbabilityRow,
    bins_of,
    calibration_error,
    probability_row,
)

NAME = "calibration"
KEPT = ROOT / "docs" / "data" / "calibration.jsonl.xz"
METHODS = (
    "none",
    "dycoke",
    "ttm",
    "dycoke-plus:retain=0.25",
    "dycoke-plus:retain=0.1",
    "random:retain=0.25:kv_prune=false",
)
_RESAMPLED = 2000
_FIELDS = ("said", "right", "visual", "visual_kept", "probabilities", "mass")


class MultipleChoice(Shapes):
    """Of `shapes` the questions with options."""

    def items(self, split: Split, limit_videos: int | None = None) -> list[Item]:
        """Questions of the first videos; see `Dataset`."""
        return [item for item in super().items(split, limit_videos) if item.letters]


@dataclass(frozen=True)
class Kept:
    """Answers of a file: by method the generated ones and the choices, by question."""

    header: Mapping[str, Any]
    generated: Mapping[str, Mapping[str, Prediction]]
    choices: Mapping[str, Mapping[str, Prediction]]

    @property
    def items(self) -> list[Item]:
        """The questions."""
        every = MultipleChoice().items(self.header["split"])
        return [item for item in every if item.id in self.choices[METHODS[0]]]

    def row(self, spec: str, items: Sequence[Item]) -> ProbabilityRow:
        """The figures of a method on some questions, of which one may come several times."""
        found = probability_row(items, self.generated[spec], self.choices[spec])
        assert found is not None
        return found


class Row(NamedTuple):
    """What the table says of a method."""

    spec: str
    of: ProbabilityRow
    choices: Mapping[str, Prediction]
    error: float
    difference: str


def kept(path: Path = KEPT) -> Kept:
    """The answers of a file."""
    with lzma.open(path, "rt") as file:
        header, *lines = map(json.loads, file)
    generated: dict[str, dict[str, Prediction]] = {}
    choices: dict[str, dict[str, Prediction]] = {}
    unkept: dict[str, Any] = dict.fromkeys(("visual_active", "generated", "bytes"))
    unkept |= {"parts": {}, "seconds": 0.0}
    for line in lines:
        fields = {name: line[name] for name in _FIELDS} | unkept
        of = choices if line["by"] == "probability" else generated
        of.setdefault(line["row"], {})[line["item"]] = Prediction(line["item"], **fields)
    return Kept(header, generated, choices)


def table(answers: Kept) -> str:
    """Markdown table of all methods."""
    items = answers.items

    def kept_share(row: Row) -> str:
        shares = [(c.visual_kept or 0) / (c.visual or 1) for c in row.choices.values()]
        return f"{100 * sum(shares) / len(shares):.0f} %"

    columns: dict[str, Callable[[Row], str]] = {
        "method": lambda row: f"`{row.spec}`",
        "kept at prefill": kept_share,
        "letters, %": lambda row: _points(row.of.generated_accuracy, row.of.generated_plus_minus),
        "by probability, %": lambda row: _points(row.of.accuracy, row.of.plus_minus),
        "agree, %": lambda row: _points(row.of.agree),
        "mean probability, %": lambda row: _points(row.of.confidence),
        "ECE, points": lambda row: _points(row.of.calibration_error, row.error),
        "ECE − none": lambda row: row.difference,
        "mass, %": lambda row: _points(row.of.mass),
    }
    rows = (
        Row(
            spec, answers.row(spec, items), answers.choices[spec], *_resampled(answers, spec, items)
        )
        for spec in METHODS
    )
    videos, header = len({item.video for item in items}), answers.header
    notes = (
        f"{len(items)} multiple-choice questions about {videos} {header['split']} videos of "
        f"`shapes`, bundled model in {header['model']['dtype']}, 32 frames. 16 tokens per frame; "
        f"`dycoke` prunes from L = 9 of {LAYERS} layers. "
        f"±: one standard error, one training; of the ECE by {_RESAMPLED} resamples of the "
        f"videos, of its difference in pairs. Commit {', '.join(header['commits'])}, "
        f"{header['machine']}."
    )
    return "\n".join([*table_lines(columns, rows), "", notes])


def _points(share: float | None, error: float | None = None) -> str:
    shown = "–" if share is None else f"{100 * share:.1f}"
    return shown if error is None else f"{shown} ± {100 * error:.1f}"


def _resampled(answers: Kept, spec: str, items: Sequence[Item]) -> tuple[float, str]:
    """Standard error of the ECE, and its difference from the baseline's with an error."""
    draw = random.Random(0)
    errors = [
        (_error(answers.choices[spec], drawn), _error(answers.choices[METHODS[0]], drawn))
        # A question of each video.
        for drawn in (draw.choices(items, k=len(items)) for _ in range(_RESAMPLED))
    ]
    own = _deviation([error for error, _ in errors])
    if spec == METHODS[0]:
        return own, "–"
    difference = _error(answers.choices[spec], items) - _error(answers.choices[METHODS[0]], items)
    spread = _deviation([error - base for error, base in errors])
    return own, f"{100 * difference:+.1f} ± {100 * spread:.1f}"


def _error(choices: Mapping[str, Prediction], items: Sequence[Item]) -> float:
    drawn = [choices[item.id] for item in items]
    sure = [min(max((one.probabilities or {}).values()), 1.0) for one in drawn]
    return calibration_error(bins_of(sure, [one.right for one in drawn]))


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5


if __name__ == "__main__":
    report(__doc__, lambda: {NAME: table(kept())})

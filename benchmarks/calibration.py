"""What compression does to a model's confidence: letters, probabilities and their calibration.

`python -m benchmarks.calibration --write` makes the table of the kept answers to multiple-choice
questions of `shapes`, both ways under each method. This file at commit 4a3dca73 asked them.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kept_tables import keep
from benchmarks.page import ROOT
from benchmarks.tune_tables import MODELS
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.report.probability_row import ProbabilityRow, probability_row
from dycoke_cli.evaluation.scoring.calibration import bins_of, calibration_error

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
    lines = [
        "| method | kept at prefill | letters, % | by probability, % | agree, % "
        "| mean probability, % | ECE, points | ECE − none | mass, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for spec in METHODS:
        row, choices = answers.row(spec, items), answers.choices[spec]
        shares = [(c.visual_kept or 0) / (c.visual or 1) for c in choices.values()]
        error, difference = _resampled(answers, spec, items)
        lines.append(
            f"| `{spec}` | {100 * sum(shares) / len(shares):.0f} % "
            f"| {_points(row.generated_accuracy)} ± {_points(row.generated_error)} "
            f"| {_points(row.accuracy)} ± {_points(row.standard_error)} | {_points(row.agree)} "
            f"| {_points(row.confidence)} | {_points(row.calibration_error)} ± {_points(error)} "
            f"| {difference} | {_points(row.mass)} |"
        )
    videos, header = len({item.video for item in items}), answers.header
    notes = (
        f"{len(items)} multiple-choice questions about {videos} {header['split']} videos of "
        f"`shapes`, bundled model in {header['model']['dtype']}, 32 frames. {MODELS} "
        f"±: one standard error; of the ECE by {_RESAMPLED} resamples of the videos, of its "
        f"difference in pairs. Commit {', '.join(header['commits'])}, {header['machine']}."
    )
    return "\n".join([*lines, "", notes])


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


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


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="also into docs/data/tables")
    arguments = parser.parse_args()
    made = table(kept())
    print(made)
    if arguments.write:
        keep(made, NAME)


if __name__ == "__main__":
    main()

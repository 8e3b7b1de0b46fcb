"""What compression does to a model's confidence: letters, probabilities and their calibration.

`python -m benchmarks.calibration --write` makes the table of the kept answers to multiple-choice
questions of `shapes`, both ways under each method. This file at commit 4a3dca73 asked them.
"""

from __future__ import annotations

import json
import lzma
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.cells import head, line
from benchmarks.comparison_tables import LAYERS
from benchmarks.kept_tables import report
from benchmarks.page import ROOT
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.evaluation.scoring.rules import chosen
from dycoke_cli.evaluation.scoring.statistics import shown_mean

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
_BINS = 10


Answer = dict[str, Any]
"""A line of the file: the generated answer to a question, or the choice by probability."""


@dataclass(frozen=True)
class Kept:
    """Answers of a file: by method the generated ones and the choices, by question."""

    header: Mapping[str, Any]
    generated: Mapping[str, Mapping[str, Answer]]
    choices: Mapping[str, Mapping[str, Answer]]

    @property
    def items(self) -> list[Item]:
        """The questions."""
        every = Shapes().items(self.header["split"])
        return [item for item in every if item.id in self.choices[METHODS[0]]]


def kept(path: Path = KEPT) -> Kept:
    """The answers of a file."""
    with lzma.open(path, "rt") as file:
        header, *lines = map(json.loads, file)
    generated: dict[str, dict[str, Answer]] = {}
    choices: dict[str, dict[str, Answer]] = {}
    for one in lines:
        of = choices if one["by"] == "probability" else generated
        of.setdefault(one["row"], {})[one["item"]] = one
    return Kept(header, generated, choices)


def table(answers: Kept) -> str:
    """Markdown table of all methods."""
    items, lines = answers.items, []
    videos, header = [item.video for item in items], answers.header
    for spec in METHODS:
        letters = [answers.generated[spec][item.id] for item in items]
        choices = [answers.choices[spec][item.id] for item in items]
        agreed = (
            chosen(letter["said"], item.options) == choice["said"]
            for item, letter, choice in zip(items, letters, choices, strict=True)
        )
        error, difference = _resampled(answers, spec, items)
        kept_share = fmean((one["visual_kept"] or 0) / (one["visual"] or 1) for one in choices)
        lines.append(
            {
                "method": f"`{spec}`",
                "kept at prefill": f"{100 * kept_share:.0f} %",
                "letters, %": _points(*shown_mean([float(x["right"]) for x in letters], videos)),
                "by probability, %": _points(
                    *shown_mean([float(x["right"]) for x in choices], videos)
                ),
                "agree, %": _points(fmean(agreed)),
                "mean probability, %": _points(fmean(map(_confidence, choices))),
                "ECE, points": _points(calibration_error(choices), error),
                "ECE − none": difference,
                "mass, %": _points(fmean(choice["mass"] for choice in choices)),
            }
        )
    notes = (
        f"{len(items)} multiple-choice questions about {len({*videos})} {header['split']} videos "
        f"of `shapes`, bundled model in {header['model']['dtype']}, 32 frames. "
        f"16 tokens per frame; `dycoke` prunes from L = 9 of {LAYERS} layers. "
        f"±: one standard error, one training; of the ECE by {_RESAMPLED} resamples of the "
        f"videos, of its difference in pairs. Commit {', '.join(header['commits'])}, "
        f"{header['machine']}."
    )
    shown = [*head(*lines[0]), *(line(*cells.values()) for cells in lines)]
    return "\n".join([*shown, "", notes])


def calibration_error(choices: Sequence[Answer]) -> float:
    """Expected calibration error: mean distance of probability and accuracy in bins of equal width.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (AAAI
    2015).
    """
    apart: dict[int, float] = {}
    for choice in choices:
        # An interval has its upper end; the first one has 0 as well.
        number = max(math.ceil(_confidence(choice) * _BINS), 1)
        apart[number] = apart.get(number, 0.0) + _confidence(choice) - choice["right"]
    return math.fsum(map(abs, apart.values())) / len(choices)


def _confidence(choice: Answer) -> float:
    return min(max(choice["probabilities"].values()), 1.0)  # a sum may round to above 1


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


def _error(choices: Mapping[str, Answer], items: Sequence[Item]) -> float:
    return calibration_error([choices[item.id] for item in items])


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5


if __name__ == "__main__":
    report(__doc__, lambda: {NAME: table(kept())})

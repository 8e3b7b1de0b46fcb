"""Calibration of probabilities: whether answers that a model gives 80 % are right in 80 % of cases.

Source of the expected calibration error (ECE): Naeini et al., "Obtaining Well Calibrated
Probabilities Using Bayesian Binning" (AAAI 2015), with bins of equal width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from dycoke_cli.answer.json_schema import Doc

BINS = 10

Share = Annotated[float, Doc(minimum=0, maximum=1)]


@dataclass(frozen=True)
class Bin:
    """Answers of about the same probability."""

    answers: Annotated[int, Doc(minimum=1)]
    probability: Annotated[Share, Doc("Mean probability of the chosen option.")]
    accuracy: Annotated[Share, Doc("Share that is correct.")]


def bins_of(probabilities: Sequence[float], correct: Sequence[bool]) -> tuple[Bin, ...]:
    """Answers in `BINS` intervals of equal width, those that are empty left out.

    Args:
        probabilities: of the chosen options, from 0 to 1.
    """
    members: dict[int, list[tuple[float, bool]]] = {}
    for probability, right in zip(probabilities, correct, strict=True):
        # An interval has its upper end; the first one has 0 as well.
        number = max(math.ceil(probability * BINS), 1)
        members.setdefault(number, []).append((probability, right))
    return tuple(
        Bin(len(group), fmean(p for p, _ in group), fmean(right for _, right in group))
        for _, group in sorted(members.items())
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of probability and accuracy, over answers.

    Args:
        bins: at least one.
    """
    answers = sum(one.answers for one in bins)
    return math.fsum(one.answers * abs(one.probability - one.accuracy) for one in bins) / answers

"""Multiple choice of a row by the options' probabilities, beside its generated letters.

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
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.scoring.choices import chosen
from dycoke_cli.evaluation.scoring.statistics import Predictions, Share, clustered_mean, plus_minus

BINS = 10


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


_Error = Annotated[float | None, Doc("Clustered by video; null of fewer than two.", minimum=0)]
_PlusMinus = Annotated[
    float | None, Doc("What tables show behind ±, as plus_minus of a row.", minimum=0)
]


@dataclass(frozen=True)
class ProbabilityRow:
    """Both ways of answering the multiple-choice questions of a row: the value of `probability`."""

    questions: Annotated[int, Doc("Of multiple choice, answered both ways.", minimum=1)]
    generated_accuracy: Annotated[Share, Doc("Of the letters in generated answers.")]
    generated_error: _Error
    accuracy: Annotated[Share, Doc("Of the likeliest letters.")]
    standard_error: _Error
    generated_plus_minus: _PlusMinus
    plus_minus: _PlusMinus
    agree: Annotated[Share, Doc("Share of questions that get the same letter both ways.")]
    confidence: Annotated[Share, Doc("Mean probability of the likeliest letter.")]
    calibration_error: Annotated[
        Share, Doc("Expected calibration error of these probabilities, in ten bins.")
    ]
    mass: Annotated[Share, Doc("Mean probability of all letters among all first tokens.")]
    bins: Annotated[tuple[Bin, ...], Doc("In ascending order of probability.", minItems=1)]


def probability_row(
    items: Sequence[Item], generated: Predictions, by_probability: Predictions
) -> ProbabilityRow | None:
    """Compare both ways on the questions that were answered both ways; None without any."""
    both = [
        (item, generated[item.id], choice)
        for item in items
        if (choice := by_probability.get(item.id)) is not None
        and choice.probabilities
        and generated[item.id].error is None
    ]
    if not both:
        return None
    videos = [item.video for item, _, _ in both]
    confidences = [_confidence(choice) for _, _, choice in both]
    bins = bins_of(confidences, [choice.right for _, _, choice in both])
    letters = clustered_mean([float(answer.right) for _, answer, _ in both], videos)
    likeliest = clustered_mean([float(choice.right) for _, _, choice in both], videos)
    assert letters[0] is not None
    assert likeliest[0] is not None
    return ProbabilityRow(
        questions=len(both),
        generated_accuracy=letters[0],
        generated_error=letters[1],
        accuracy=likeliest[0],
        standard_error=likeliest[1],
        generated_plus_minus=plus_minus(letters[1], len({*videos})),
        plus_minus=plus_minus(likeliest[1], len({*videos})),
        agree=fmean(chosen(answer.said, item.options) == c.said for item, answer, c in both),
        confidence=fmean(confidences),
        calibration_error=calibration_error(bins),
        mass=fmean(choice.mass or 0.0 for _, _, choice in both),
        bins=bins,
    )


def _confidence(choice: Prediction) -> float:
    assert choice.probabilities is not None
    return min(max(choice.probabilities.values()), 1.0)  # a sum may round to above 1

"""Multiple choice of a row by the options' probabilities, beside its generated letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.scoring.calibration import Bin, Share, bins_of, calibration_error
from dycoke_cli.evaluation.scoring.choices import chosen
from dycoke_cli.evaluation.scoring.statistics import Predictions, clustered_mean, plus_minus

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

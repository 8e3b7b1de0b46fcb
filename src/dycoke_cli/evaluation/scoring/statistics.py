"""Means, clustered standard errors and paired differences of scores; retention.

Questions about one video are correlated, so standard errors are clustered by video, and methods are
compared in pairs on the same questions. Source: Miller, "Adding Error Bars to Evals" (arXiv
2411.00640). The sandwich estimator is multiplied by G/(G-1) for G clusters, and t quantiles have
G-1 degrees of freedom: otherwise the error would be underestimated for few videos.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.evaluation.dataset import Item

if TYPE_CHECKING:  # a plug-in's benchmark is read while the modules behind it are imported
    from dycoke_cli.evaluation.prediction import Prediction

Predictions = Mapping[str, "Prediction"]
"""Predictions by question id."""

Value = Callable[["Prediction"], float]

_FEW = 30
"""Number of clusters from which the normal distribution is close enough to Student's t."""


Share = Annotated[float, Doc(minimum=0, maximum=1)]
ShareOrNull = Annotated[float | None, Doc(minimum=0, maximum=1)]
AmountOrNull = Annotated[float | None, Doc(minimum=0)]


@dataclass(frozen=True)
class Accuracy:
    """The share of correct answers to some questions, or the mean of a measure from 0 to 1."""

    questions: Annotated[int, Doc("That count.", minimum=0)]
    accuracy: ShareOrNull
    standard_error: Annotated[AmountOrNull, Doc("Clustered by video; null of fewer than two.")]
    difference: Annotated[
        float | None,
        Doc("From the baseline on the same questions; null without one.", minimum=-1, maximum=1),
    ]
    difference_error: Annotated[
        AmountOrNull,
        Doc("Standard error of difference, paired and clustered; null of one video."),
    ]
    plus_minus: Annotated[
        AmountOrNull,
        Doc(
            "What tables show behind ±: standard_error, of fewer than 30 videos widened by "
            "Student's t so that it covers 68.27 %, as one standard error of many does."
        ),
    ]
    difference_plus_minus: Annotated[AmountOrNull, Doc("Likewise of difference_error.")]
    difference_p: Annotated[
        ShareOrNull,
        Doc(
            "Two-sided p-value of difference: Student's t, with one degree of freedom fewer than "
            "videos. Null without an error above 0."
        ),
    ]


def clustered_mean(
    values: Sequence[float], clusters: Sequence[str]
) -> tuple[float | None, float | None]:
    """Mean of values and its clustered standard error.

    Returns:
        Mean (None without values) and standard error (None for fewer than two clusters).
    """
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    # Residuals are summed within a cluster before they are squared: correlated ones add up.
    residuals: defaultdict[str, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    if len(residuals) < 2:
        return mean, None
    squares = math.fsum(sum_**2 for sum_ in residuals.values())
    return mean, math.sqrt(squares * len(residuals) / (len(residuals) - 1)) / len(values)


def plus_minus(error: float | None, clusters: int) -> float | None:
    """What tables show behind ±: one standard error, which covers 68.27 % of many clusters.

    For few clusters Student's t widens it, so that it covers as much.
    """
    if error is None or clusters >= _FEW:
        return error
    return error * t_quantile(NormalDist().cdf(1), clusters - 1)


def shown_mean(
    values: Sequence[float], clusters: Sequence[str]
) -> tuple[float | None, float | None]:
    """Mean of values, and what tables show behind ±; see `clustered_mean`."""
    mean, error = clustered_mean(values, clusters)
    return mean, plus_minus(error, len({*clusters}))


def p_value(difference: float | None, error: float | None, clusters: int) -> float | None:
    """Two-sided p-value of a paired difference, by Student's t; None without an error above 0."""
    if difference is None or not error:
        return None
    freedom = clusters - 1
    below = _t_below(math.atan(abs(difference / error) / math.sqrt(freedom)), freedom)
    return max(2 * (1 - below), 0.0)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values of several comparisons (Holm's step-down procedure, 1979).

    None stays None, and isn't counted as a comparison.
    """
    ascending = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(ascending):
        least = max(least, min((len(ascending) - rank) * p, 1.0))
        adjusted[place] = least
    return adjusted


def t_quantile(share: float, freedom: int) -> float:
    """Quantile of Student's t distribution, by bisection (this needs no scipy).

    Args:
        share: probability, from 0.5 to below 1.
        freedom: degrees of freedom, 1 or more.
    """
    # Bisect the angle whose tangent is t / sqrt(freedom), which is bounded.
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _t_below(middle, freedom) >= share else (middle, high)
    return math.tan(low) * math.sqrt(freedom)


def _t_below(angle: float, freedom: int) -> float:
    """Cumulative distribution of t by its finite series (Abramowitz and Stegun, 26.7.3-4)."""
    odd, square = freedom % 2, math.cos(angle) ** 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(freedom // 2):
        total += term
        term *= square * (2 * step + 1 + odd) / (2 * step + 2 + odd)
    inside = math.sin(angle) * total
    return 0.5 + ((angle + inside) / math.pi if odd else inside / 2)


def mean_of(
    value: Value, items: Sequence[Item], predictions: Predictions, uncompressed: Predictions | None
) -> Accuracy:
    """Mean of a measure, and its difference from the baseline.

    Args:
        uncompressed: answers of the baseline, or None.
    """
    videos = [item.video for item in items]
    clusters = len({*videos})
    values = [value(predictions[item.id]) for item in items]
    mean, error = clustered_mean(values, videos)
    difference = paired = None
    if uncompressed is not None:
        pairs = zip(items, values, strict=True)
        differences = [own - value(uncompressed[item.id]) for item, own in pairs]
        difference, paired = clustered_mean(differences, videos)
    return Accuracy(
        questions=len(items),
        accuracy=mean,
        standard_error=error,
        difference=difference,
        difference_error=paired,
        plus_minus=plus_minus(error, clusters),
        difference_plus_minus=plus_minus(paired, clusters),
        difference_p=p_value(difference, paired, clusters),
    )


def grouped(items: Iterable[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Group questions by a key; groups and questions keep their order."""
    groups: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """Mean of values; None if one is None, or if there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(values) if values and len(known) == len(values) else None


def retention(
    predictions: Iterable[Prediction], tokens: Callable[[Prediction], float | None]
) -> float | None:
    """Mean share of the visual tokens, over answers with a video; None without any, or unknown."""
    shares = [(tokens(one), one.visual) for one in predictions if one.visual]
    return mean_or_none([n if n is None or not all_ else n / all_ for n, all_ in shares])

"""What a set of answers amounts to, and how sure that is.

Questions about one video stand or fall together, so standard errors are clustered by video, and
methods are compared on the same questions, pair by pair. Source: Miller, "Adding Error Bars to
Evals" (arXiv 2411.00640); the sandwich estimator times G/(G-1) for G clusters, and t quantiles with
G-1 degrees of freedom: of few videos it would be too small, of one there is none.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.prediction import Prediction

Predictions = Mapping[str, Prediction]
"""By question."""

Value = Callable[[Prediction], float]


@dataclass(frozen=True)
class Mean:
    """The mean of a measure over questions.

    Args:
        questions: how many count.
        value: the mean; None where none counts.
        standard_error: of it, clustered by video; None of one video, or none.
        difference: from the baseline on the same questions, or None without one.
        difference_error: standard error of that, paired and clustered; None of one video.
    """

    questions: int
    value: float | None
    standard_error: float | None
    difference: float | None
    difference_error: float | None


def clustered_mean(
    values: Sequence[float], clusters: Sequence[str]
) -> tuple[float | None, float | None]:
    """The mean of values, and its standard error where values of a cluster go together.

    Args:
        values: one per question.
        clusters: the video of each.

    Returns:
        None for the mean of no values, and for the error of fewer than two clusters.
    """
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    residuals: defaultdict[str, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    if len(residuals) < 2:
        return mean, None
    squares = math.fsum(sum_**2 for sum_ in residuals.values())
    return mean, math.sqrt(squares * len(residuals) / (len(residuals) - 1)) / len(values)


def detectable(error: float, clusters: int) -> float:
    """The least difference that is found with 80 % probability, at the 5 % level (two-sided).

    It is (t(0.975) + t(0.8)) standard errors, about 2.8 of many clusters.

    Args:
        error: standard error of the difference.
        clusters: two at least; the quantiles have one degree of freedom fewer.
    """
    return (t_quantile(0.975, clusters - 1) + t_quantile(0.8, clusters - 1)) * error


def t_quantile(share: float, freedom: int) -> float:
    """Student's t below which a share of the distribution lies.

    Args:
        share: from 0.5 to below 1.
        freedom: degrees of freedom, 1 or more.
    """
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(freedom)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _t_below(middle, freedom) >= share else (middle, high)
    return math.tan(low) * math.sqrt(freedom)


def _t_below(angle: float, freedom: int) -> float:
    """The cumulative distribution of t, by its finite series (Abramowitz and Stegun, 26.7.3-4)."""
    odd, square = freedom % 2, math.cos(angle) ** 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(freedom // 2):
        total += term
        term *= square * (2 * step + 1 + odd) / (2 * step + 2 + odd)
    inside = math.sin(angle) * total
    return 0.5 + ((angle + inside) / math.pi if odd else inside / 2)


def mean_of(
    value: Value, items: Sequence[Item], said: Predictions, uncompressed: Predictions | None
) -> Mean:
    """The mean of a measure, and its difference from the baseline.

    Args:
        value: of an answer.
        items: the questions, of which those count whose answers do.
        said: their answers.
        uncompressed: the answers of the baseline, or None.
    """
    own = [item for item in items if said[item.id].counted]
    mean, error = clustered_mean(
        [value(said[item.id]) for item in own], [item.video for item in own]
    )
    if uncompressed is None:
        return Mean(len(own), mean, error, None, None)
    both = [item for item in own if uncompressed[item.id].counted]
    differences = [value(said[item.id]) - value(uncompressed[item.id]) for item in both]
    return Mean(len(own), mean, error, *clustered_mean(differences, [one.video for one in both]))


def grouped(items: Iterable[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Questions by `key`, groups and questions in the order in which they first come."""
    groups: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def known_mean(values: Sequence[float | None]) -> float | None:
    """The mean of values; None where one isn't known, or where there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(values) if values and len(known) == len(values) else None


@dataclass(frozen=True)
class Retention:
    """Mean shares of a video's visual tokens; None where there was no video, or it isn't known.

    Args:
        prefill: left before the language model.
        decode: that a decoding step attended to, mean over steps and layers.
        pruned_layers: the same of the layers that are pruned alone; None where budgets differ in
            them.
    """

    prefill: float | None = None
    decode: float | None = None
    pruned_layers: float | None = None


def retention(predictions: Iterable[Prediction]) -> Retention:
    """How many of the visual tokens were read, as shares."""
    seen = [prediction for prediction in predictions if prediction.visual]

    def share(tokens: Callable[[Prediction], float | None]) -> float | None:
        shares = [(tokens(one), one.visual) for one in seen]
        return known_mean([n if n is None or not all_ else n / all_ for n, all_ in shares])

    return Retention(
        share(lambda one: one.visual_kept),
        share(lambda one: one.visual_read),
        share(lambda one: None if one.path else one.visual_active),
    )

"""What a set of answers amounts to, and how sure that is.

Questions about one video stand or fall together, so standard errors are clustered by video, and
methods are compared on the same questions, pair by pair. Source: Miller, "Adding Error Bars to
Evals" (arXiv 2411.00640); the estimator is the sandwich without a correction for few clusters.
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
        questions: how many.
        value: the mean.
        standard_error: of it, clustered by video.
        difference: from the baseline on the same questions, or None without one.
        difference_error: standard error of that, paired and clustered.
    """

    questions: int
    value: float
    standard_error: float
    difference: float | None
    difference_error: float | None


def clustered_mean(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float]:
    """The mean of values, and its standard error where values of a cluster go together.

    Args:
        values: one a question.
        clusters: the video of each.
    """
    mean = math.fsum(values) / len(values)
    residuals: defaultdict[str, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    return mean, math.sqrt(math.fsum(sum_**2 for sum_ in residuals.values())) / len(values)


def mean_of(
    value: Value, items: Sequence[Item], said: Predictions, uncompressed: Predictions | None
) -> Mean:
    """The mean of a measure, and its difference from the baseline.

    Args:
        value: of an answer.
        items: the questions, one at least.
        said: their answers.
        uncompressed: the answers of the baseline, or None.
    """
    videos = [item.video for item in items]
    values = [value(said[item.id]) for item in items]
    mean, error = clustered_mean(values, videos)
    if uncompressed is None:
        return Mean(len(items), mean, error, None, None)
    differences = [
        own - value(uncompressed[item.id]) for own, item in zip(values, items, strict=True)
    ]
    return Mean(len(items), mean, error, *clustered_mean(differences, videos))


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
        pruned_layers: the same of the layers that are pruned alone.
    """

    prefill: float | None = None
    decode: float | None = None
    pruned_layers: float | None = None


def retention(predictions: Iterable[Prediction]) -> Retention:
    """How many of the visual tokens were read, as shares."""
    seen = [prediction for prediction in predictions if prediction.visual]

    def share(tokens: Callable[[Prediction], float | None]) -> float | None:
        return known_mean([None if (n := tokens(one)) is None else n / one.visual for one in seen])

    return Retention(
        share(lambda one: one.visual_kept),
        share(lambda one: one.visual_read),
        share(lambda one: one.visual_active),
    )

"""The guard's threshold, from answers that were compared with the uncompressed model's.

A question climbs a ladder of budgets: asked with the smallest, its answer is kept where its
certainty reaches the threshold; else it is asked with the next one, at last with all tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dycoke_cli.guard.bounds import CONFIDENCE, last_safe, last_safe_on_average, videos_needed

THRESHOLDS = tuple(1 - 10 ** (-step / 10) for step in range(60, -1, -1))
"""From the safest, 0.999999, to 0, by which each answer is kept; fixed before any video is seen."""


@dataclass(frozen=True)
class Try:
    """A question's answer at one budget.

    Args:
        score: its certainty, in [0, 1].
        same: whether it is the uncompressed answer.
    """

    score: float
    same: bool


Climb = Sequence[Try]
"""A question's answers at each budget, smallest first."""


@dataclass(frozen=True)
class Calibration:
    """A threshold, or why there is none.

    Args:
        threshold: None keeps all tokens.
        alpha: the bound.
        on_average: whether it holds on average only, in place of with `CONFIDENCE`.
        videos: that it rests on.
        missing: how many more are needed at least; 0 where there is a threshold, or where it isn't
            for their number that there is none.
    """

    threshold: float | None
    alpha: float
    on_average: bool
    videos: int
    missing: int


def kept(climb: Climb, threshold: float) -> int:
    """The number of the budget whose answer is kept; that behind the last is all tokens."""
    return next((n for n, one in enumerate(climb) if one.score >= threshold), len(climb))


def loss(climbs: Sequence[Climb], threshold: float) -> float:
    """The share of a video's questions whose kept answer isn't the uncompressed one."""
    stops = [(climb, kept(climb, threshold)) for climb in climbs]
    return sum(n < len(climb) and not climb[n].same for climb, n in stops) / len(stops)


def calibrate(
    videos: Sequence[Sequence[Climb]], alpha: float, *, on_average: bool = False
) -> Calibration:
    """The lowest threshold at which P(answer differs from the uncompressed one) is at most alpha.

    Args:
        videos: of each, its questions; independent of the choice of the budgets.
        alpha: the bound, in (0, 1).
        on_average: by conformal risk control, in place of with confidence.
    """
    risks = [[loss(climbs, threshold) for climbs in videos] for threshold in THRESHOLDS]
    return calibrated(risks, alpha, on_average=on_average)


def calibrated(
    risks: Sequence[Sequence[float]], alpha: float, *, on_average: bool = False
) -> Calibration:
    """See `calibrate`.

    Args:
        risks: at each of `THRESHOLDS`, the `loss` of each video.
        alpha: the bound, in (0, 1).
        on_average: by conformal risk control, in place of with confidence.
    """
    count = len(risks[0])
    find = last_safe_on_average if on_average else last_safe
    last = find(risks, alpha) if count else None
    needed = math.ceil(1 / alpha - 1 - 1e-9) if on_average else videos_needed(alpha, CONFIDENCE)
    threshold = None if last is None else THRESHOLDS[last]
    return Calibration(threshold, alpha, on_average, count, max(0, needed - count))

"""Risk bounds from independent videos, valid at any sample size.

The unit is a video, whose loss in [0, 1] is the mean over its questions: questions about one video
aren't independent.
Sources: Learn then Test (arXiv 2110.01052), conformal risk control (arXiv 2208.02814), betting
(arXiv 2010.09686).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

CONFIDENCE = 0.95

# (bet, share of the capital). A bet is relative to the largest one that only a loss of 1 can ruin.
# The first makes 59 videos without a loss enough for 5 %. It is ruined by a single video with a
# loss of 1; the smaller bets survive that.
_BETS = ((1.0, 0.98), (0.9, 0.004), (0.5, 0.004), (0.2, 0.004), (0.05, 0.004), (0.01, 0.004))

# Limit of the logarithm of a bet's capital: `exp` overflows above 709.
_LARGEST = 700.0
# Limit of a number of videos: for a bound near 0 none is enough.
_MOST_VIDEOS = 2**60


def videos_needed(alpha: float, confidence: float = CONFIDENCE) -> int:
    """Number of videos without a loss that is needed to bound the risk by alpha (`last_safe`)."""
    return _fewest(lambda videos: _p_value({0.0: videos}, alpha) <= 1 - confidence)


def videos_needed_on_average(alpha: float) -> int:
    """Number of videos without a loss that `last_safe_on_average` needs for alpha."""
    return _fewest(lambda videos: _expected_risk(0.0, videos) <= alpha)


def _fewest(enough: Callable[[int], bool]) -> int:
    """Smallest number of videos that is enough, by bisection: a larger number is enough, too."""
    most = 1
    while most < _MOST_VIDEOS and not enough(most):
        most *= 2
    return bisect_left(range(most), True, key=enough)


def p_value(losses: Sequence[float], alpha: float) -> float:
    """P-value of the hypothesis that the expected loss of a video is above alpha.

    It is the inverse of the capital gained by betting against the hypothesis (Ville's inequality).
    The bets have fixed sizes, so the order of the videos doesn't matter.

    Args:
        losses: one per video, in [0, 1].
        alpha: in (0, 1).
    """
    return _p_value(Counter(losses), alpha)


def _p_value(losses: Mapping[float, int], alpha: float) -> float:
    """P-value by number of videos with each loss; see `p_value`."""
    capital = math.fsum(
        weight * math.exp(min(_LARGEST, _log_capital(losses, share, alpha)))
        for share, weight in _BETS
    )
    return min(1.0, 1 / capital) if capital > 0 else 1.0


def _log_capital(losses: Mapping[float, int], share: float, alpha: float) -> float:
    """Logarithm of the capital of one bet: each video multiplies it by `1 + gain`."""
    logs = []
    for loss, videos in losses.items():
        gain = share * (alpha - loss) / (1 - alpha)
        if gain <= -1:
            return -math.inf
        logs.append(videos * math.log1p(gain))
    return math.fsum(logs)


def last_safe(
    risks: Sequence[Sequence[float]], alpha: float, confidence: float = CONFIDENCE
) -> int | None:
    """Learn then Test with fixed-sequence testing: the last rule whose risk is at most alpha.

    The bound holds with that confidence, for any distribution of videos.

    Returns:
        Index of the rule; None if the first one fails.
    """
    last = None
    for number, losses in enumerate(risks):
        # Stopping at the first failure is what makes the whole sequence valid without a correction
        # for the number of tests.
        if p_value(losses, alpha) > 1 - confidence:
            break
        last = number
    return last


def last_safe_on_average(risks: Sequence[Sequence[float]], alpha: float) -> int | None:
    """Conformal risk control: the last rule whose expected risk is at most alpha.

    The expectation includes the draw of these videos: for a single draw, the risk often exceeds it.

    Args: see `last_safe`. Losses are made non-decreasing over the rules.
    """
    last, monotone = None, None
    for number, losses in enumerate(risks):
        # The theorem needs losses that are monotone in the rule.
        monotone = [*map(max, monotone, losses)] if monotone else [*losses]
        if _expected_risk(math.fsum(monotone), len(monotone)) > alpha:
            break
        last = number
    return last


def _expected_risk(losses: float, videos: int) -> float:
    """Bound on the expected risk, from the sum of the losses of so many videos."""
    return (losses + 1) / (videos + 1)


def interval(losses: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Confidence interval of the mean loss, valid at any number of videos.

    Args:
        losses: one per video, in [0, 1].
    """
    tail = (1 - confidence) / 2
    return 1 - _upper([1 - loss for loss in losses], tail), _upper(losses, tail)


def _upper(losses: Sequence[float], tail: float) -> float:
    """Largest mean that isn't rejected, by bisection (the p-value falls as the mean grows)."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(losses, middle) <= tail else (middle, high)
    return high

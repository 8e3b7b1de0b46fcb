"""Risk bounds from independent videos, and the guard's calibration by them.

The bounds are valid at any sample size.

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
from dataclasses import dataclass

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


# Calibration of the guard's certainty threshold against the uncompressed model's answers.
#
# The budgets form a ladder. A question is tried at the smallest budget first, and that answer is
# kept if its certainty reaches the threshold; otherwise at the next budget, and finally with all
# tokens.


THRESHOLDS = tuple(1 - 10 ** (-step / 10) for step in range(60, -1, -1))
"""From the safest (0.999999) to 0, which keeps every answer; fixed before any video is seen."""


@dataclass(frozen=True)
class Attempt:
    """Answer to a question at one budget."""

    score: float  # certainty of the answer, in [0, 1]
    same: bool  # whether it equals the uncompressed answer


Attempts = Sequence[Attempt]
"""A question's answers at each budget, smallest first."""


@dataclass(frozen=True)
class Calibration:
    """Result of a calibration: a threshold, or why there is none."""

    threshold: float | None  # None keeps all tokens
    alpha: float  # the bound
    on_average: bool  # the bound holds in expectation, not with `CONFIDENCE`
    videos: int  # number of videos of the calibration
    # lower bound of the additional videos that are needed; 0 if there is a threshold, or if more
    # videos alone wouldn't give one
    missing: int


def kept(attempts: Attempts, threshold: float) -> int:
    """Index of the budget whose answer is kept; `len(attempts)` means all tokens."""
    return next((n for n, one in enumerate(attempts) if one.score >= threshold), len(attempts))


def loss(questions: Sequence[Attempts], threshold: float) -> float:
    """Share of a video's questions whose kept answer differs from the uncompressed one."""
    stops = [(attempts, kept(attempts, threshold)) for attempts in questions]
    return sum(n < len(attempts) and not attempts[n].same for attempts, n in stops) / len(stops)


def calibrate(
    videos: Sequence[Sequence[Attempts]], alpha: float, *, on_average: bool = False
) -> Calibration:
    """Find the lowest threshold at which P(answer differs from uncompressed) is at most alpha.

    Args:
        videos: attempts by video and question. The budgets must not have been chosen on them.
        alpha: the bound, in (0, 1).
    """
    risks = [[loss(questions, threshold) for questions in videos] for threshold in THRESHOLDS]
    return calibrated(risks, alpha, on_average=on_average)


def calibrated(
    risks: Sequence[Sequence[float]], alpha: float, *, on_average: bool = False
) -> Calibration:
    """Calibrate from losses; see `calibrate`.

    Args:
        alpha: the bound, in (0, 1).
    """
    count = len(risks[0])
    find = last_safe_on_average if on_average else last_safe
    last = find(risks, alpha) if count else None
    needed = videos_needed_on_average(alpha) if on_average else videos_needed(alpha)
    # No threshold, rather than the safest one: that isn't proven to satisfy the bound either.
    threshold = None if last is None else THRESHOLDS[last]
    return Calibration(threshold, alpha, on_average, count, max(0, needed - count))

"""Bounds on a risk from independent videos, valid at any sample size.

A video's loss is in [0, 1], the mean over its questions: questions about one video go together.
Sources: Learn then Test (arXiv 2110.01052), conformal risk control (arXiv 2208.02814), betting
(arXiv 2010.09686).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.95

# Shares of the largest bet that can't lose everything but to a loss of 1, and what is put on each.
# The first makes 59 videos without a loss enough for 5 %; the others survive single bad videos.
_BETS = ((1.0, 0.98), (0.9, 0.004), (0.5, 0.004), (0.2, 0.004), (0.05, 0.004), (0.01, 0.004))


def videos_needed(alpha: float, confidence: float = CONFIDENCE) -> int:
    """Videos without a single loss that it takes to bound the risk by alpha."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - alpha) - 1e-9)


def p_value(losses: Sequence[float], alpha: float) -> float:
    """The p-value of the hypothesis that the mean loss of such videos is above alpha.

    The inverse of the capital of one who bets against it (Ville's inequality): a mixture of bets of
    fixed sizes, so that the order of the videos doesn't matter.

    Args:
        losses: one per video, in [0, 1].
        alpha: in (0, 1).
    """
    capital = math.fsum(
        weight * math.prod(1 + share * (alpha - loss) / (1 - alpha) for loss in losses)
        for share, weight in _BETS
    )
    return min(1.0, 1 / capital) if capital > 0 else 1.0


def last_safe(
    risks: Sequence[Sequence[float]], alpha: float, confidence: float = CONFIDENCE
) -> int | None:
    """Learn then Test, by fixed-sequence testing: the last rule whose risk is at most alpha.

    With that confidence its risk is at most alpha, whatever the distribution.

    Args:
        risks: of each rule, in an order that was fixed before: the losses of all videos.
        alpha: the bound.
        confidence: one minus the probability that it doesn't hold.

    Returns:
        Its number; None where not even the first passes.
    """
    last = None
    for number, losses in enumerate(risks):
        if p_value(losses, alpha) > 1 - confidence:
            break
        last = number
    return last


def last_safe_on_average(risks: Sequence[Sequence[float]], alpha: float) -> int | None:
    """Conformal risk control: the last rule whose expected risk is at most alpha.

    The expectation is over the videos here, too: in a single sample it is often passed.

    Args: as of `last_safe`; a loss counts as no smaller than under an earlier rule.
    """
    last, so_far = None, None
    for number, losses in enumerate(risks):
        so_far = [*map(max, so_far, losses)] if so_far else [*losses]
        if (math.fsum(so_far) + 1) / (len(so_far) + 1) > alpha:
            break
        last = number
    return last


def interval(losses: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """A confidence interval of the mean loss, valid at any number of videos.

    Args:
        losses: one per video, in [0, 1].
        confidence: of the interval.
    """
    tail = (1 - confidence) / 2
    return 1 - _upper([1 - loss for loss in losses], tail), _upper(losses, tail)


def _upper(losses: Sequence[float], tail: float) -> float:
    """The largest mean that isn't rejected."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(losses, middle) <= tail else (middle, high)
    return high

"""Calibration of the guard's certainty threshold against the uncompressed model's answers.

The budgets form a ladder. A question is tried at the smallest budget first, and that answer is kept
if its certainty reaches the threshold; otherwise at the next budget, and finally with all tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dycoke_cli.guard.bounds import (
    last_safe,
    last_safe_on_average,
    videos_needed,
    videos_needed_on_average,
)

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

"""Guard of a request: a ladder of budgets and a certainty threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import identity, restore
from dycoke_cli.errors import UsageError
from dycoke_cli.guard.bounds import calibrate
from dycoke_cli.guard.tuned import Tuning
from dycoke_cli.param import key_part

GUARD, GUARD_MEAN = "guard", "guard-mean"


@dataclass(frozen=True)
class Guard:
    """Budgets that are tried in turn until the answer is certain."""

    alpha: float  # bound on P(answer differs from the uncompressed one)
    on_average: bool  # the bound holds in expectation, not with 95 % confidence
    threshold: float | None  # certainty from which an answer is kept; None starts with all tokens
    videos: int  # number of videos of the calibration
    # the methods, serialized by `registry.described`, smallest budget first. All tokens are the
    # implicit last step.
    ladder: tuple[dict[str, Any], ...] = field(hash=False)

    def key_part(self) -> dict[str, Any]:
        """Part of an answer's key; the bound itself isn't in it, only its threshold."""
        methods = [{**identity(each), **key_part(each)} for each in map(restore, self.ladder)]
        return {"threshold": self.threshold, "methods": methods}

    @property
    def name(self) -> str:
        """Name of its row in a table: the flag and the bound."""
        return f"{GUARD_MEAN if self.on_average else GUARD}={self.alpha:g}"

    @property
    def steps(self) -> tuple[Method, ...]:
        """Methods in the order in which they are tried."""
        return (*(map(restore, self.ladder) if self.threshold is not None else ()), Method())


def guard_of(tuning: Tuning, alpha: float, on_average: bool) -> tuple[Guard, str | None]:
    """Guard of a tuned model, and a warning if no threshold satisfies the bound."""
    flag = f"--{GUARD_MEAN if on_average else GUARD}"
    if not 0 < alpha < 1:
        raise UsageError(f"{flag} must be above 0 and below 1, not {alpha:g}")
    calibration = calibrate(tuning.tries, alpha, on_average=on_average)
    threshold, videos = calibration.threshold, calibration.videos
    guard = Guard(alpha, on_average, threshold, videos, tuning.ladder)
    if threshold is not None:
        return guard, None
    why = "too many of its answers were changed"
    if calibration.missing:
        why = f"at least {calibration.missing} more videos are needed than the {videos} it has"
    return guard, f"{flag} {alpha:g} keeps all tokens: {why}; tune on more (`dycoke tune`)"

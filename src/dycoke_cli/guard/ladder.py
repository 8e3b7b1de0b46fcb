"""A guard as a request has it: budgets, and the certainty from which an answer is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import identity, restore
from dycoke_cli.errors import UsageError
from dycoke_cli.guard.calibration import calibrate
from dycoke_cli.guard.tuned import Tuning
from dycoke_cli.param import key_part

GUARD, GUARD_MEAN = "guard", "guard-mean"


@dataclass(frozen=True)
class Guard:
    """Budgets by which a question is asked, until its answer is certain.

    Args:
        alpha: the bound on P(answer differs from the uncompressed one).
        on_average: whether it holds on average only, in place of with 95 % confidence.
        threshold: from which certainty an answer is kept; None asks with all tokens at once.
        videos: that the threshold rests on.
        ladder: the methods as `registry.described` has them, smallest budget first; all tokens come
            behind the last.
    """

    alpha: float
    on_average: bool
    threshold: float | None
    videos: int
    ladder: tuple[dict[str, Any], ...] = field(hash=False)

    def key_part(self) -> dict[str, Any]:
        """What an answer depends on, for a key."""
        methods = [{**identity(each), **key_part(each)} for each in map(restore, self.ladder)]
        return {"threshold": self.threshold, "methods": methods}

    @property
    def name(self) -> str:
        """The flag that asks for it, and its bound: the name of its row in a table."""
        return f"{GUARD_MEAN if self.on_average else GUARD}={self.alpha:g}"

    @property
    def steps(self) -> tuple[Method, ...]:
        """The methods that are tried in turn.

        Raises:
            UsageError: there is no such method or parameter any more.
        """
        return (*(map(restore, self.ladder) if self.threshold is not None else ()), Method())


def guard_of(tuning: Tuning, alpha: float, on_average: bool) -> tuple[Guard, str | None]:
    """The guard of a tuned model, and a sentence where there is no threshold for it.

    Raises:
        UsageError: alpha isn't between 0 and 1; or see `Guard.steps`.
    """
    flag = f"--{GUARD_MEAN if on_average else GUARD}"
    if not 0 < alpha < 1:
        raise UsageError(f"{flag} must be above 0 and below 1, not {alpha:g}")
    found = calibrate(tuning.tries, alpha, on_average=on_average)
    guard = Guard(alpha, on_average, found.threshold, found.videos, tuning.ladder)
    if found.threshold is not None:
        return guard, None
    why = "too many of its answers were changed"
    if found.missing:
        why = f"at least {found.missing} more videos are needed than the {found.videos} it has"
    return guard, f"{flag} {alpha:g} keeps all tokens: {why}; tune on more (`dycoke tune`)"

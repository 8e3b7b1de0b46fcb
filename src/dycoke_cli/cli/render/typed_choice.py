"""Probabilities of the options of a typed question, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer, TimeRange

_MOST_SHOWN = 6


def percent(probability: float) -> str:
    """Format a probability; one that isn't 0 isn't shown as 0."""
    return "< 0.1 %" if 0 < probability < 0.0005 else f"{100 * probability:.1f} %"


def likelihood(answer: Answer) -> str | None:
    """Probability of the choice of a typed answer; None of another one."""
    if isinstance(answer.choice, Absent) or isinstance(answer.probabilities, Absent):
        return None
    return percent(answer.probabilities[answer.choice])


def odds(answer: Answer) -> str:
    """The likeliest options of a typed answer with their probabilities, and the mean of a score."""
    assert not isinstance(answer.probabilities, Absent)
    ranked = sorted(answer.probabilities.items(), key=lambda pair: -pair[1])
    parts = [f"{option} {percent(value)}" for option, value in ranked[:_MOST_SHOWN]]
    if rest := ranked[_MOST_SHOWN:]:
        parts.append(f"{len(rest)} others {percent(sum(value for _, value in rest))}")
    if not isinstance(answer.mean, Absent):
        parts.append(f"mean {answer.mean:.2f}")
    return " · ".join(parts)


def scoring(answer: Answer) -> str:
    """How the options of a typed answer were scored."""
    how = answer.scoring
    assert not isinstance(how, Absent)
    parts = [f"they have {percent(how.mass)} of the probability"]
    if how.per_token:
        parts.append("mean over tokens")
    if how.ended:
        parts.append("with the end of the answer")
    return "; ".join(parts)


def time_ranges(ranges: Sequence[TimeRange]) -> str:
    """A line for each range in which the answer is yes, with the probabilities of its check."""
    return "\n".join(map(_time_range, ranges)) or "not found"


def _time_range(one: TimeRange) -> str:
    beside = "" if one.outside is None else f", outside {percent(one.outside)}"
    return f"{format_part(one.start, one.end)} (inside {percent(one.inside)}{beside})"

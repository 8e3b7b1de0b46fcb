"""Formatting of numbers with units, and of probabilities.

A size, FLOPs or a duration gets a suitable unit; in a table, all of a column get the same unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer, TimeRange


Unit = Callable[[Any, float | None], str]
"""Formats a value, by the largest one of its column."""


def count(value: float, largest: float | None = None) -> str:
    """Format a count with thousands separators; a fractional mean keeps one digit."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def counted(number: int, what: str) -> str:
    """Format a number of things, with the plural of their name."""
    return f"{count(number)} {what}" if number == 1 else f"{count(number)} {what}s"


def column(values: Sequence[Any], unit: Unit) -> list[str]:
    """Format the values of a column in the unit of the largest; None is a dash, a text stays."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    largest = max(numbers, default=None)
    return [
        "–" if value is None else value if isinstance(value, str) else unit(value, largest)
        for value in values
    ]


def size(value: float, largest: float | None = None) -> str:
    """Format bytes in the unit with one to three digits before the point (powers of 1000)."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"), largest)


def flops(value: float, largest: float | None = None) -> str:
    """Format FLOPs in the unit with one to three digits before the point."""
    return _scaled(value, ("", "k", "M", "G", "T", "P"), largest).rstrip()


def seconds(value: float, largest: float | None = None) -> str:
    """Format a duration; short ones in milliseconds."""
    if (value if largest is None else largest) < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 0.0995:
        return f"{value:.3f} s"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def share(part: float, whole: float) -> str:
    """Format `part / whole` in percent; a dash if `whole` is 0."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _scaled(value: float, units: tuple[str, ...], largest: float | None) -> str:
    index, most = 0, abs(value if largest is None else largest)
    # 999.5 would be rounded to 1000, so it gets the next unit already.
    while most >= 999.5 and index < len(units) - 1:
        value, most, index = value / 1000, most / 1000, index + 1
    digits = f"{value:.0f}" if index == 0 or value >= 99.95 else f"{round(value, 3):.3g}"
    return f"{digits} {units[index]}"


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

"""Formatting of numbers with units.

A size, FLOPs or a duration gets a suitable unit; in a table, all of a column get the same unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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

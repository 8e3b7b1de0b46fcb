"""Numbers as people read them.

A size, FLOPs or a duration has the unit that suits it, or in a table the unit of its column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def count(value: float) -> str:
    """1234.0 as 1,234; a mean that isn't whole keeps one digit."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


@dataclass(frozen=True)
class Quantity:
    """A number in a table, whose unit is that of its column.

    Args:
        value: None is a dash.
        shown: `size`, `flops` or `seconds`.
    """

    value: float | None
    shown: Callable[[float, float | None], str]


def column(cells: Sequence[str | Quantity]) -> list[str]:
    """The cells of a column as texts, its quantities in the unit of the largest."""
    values = [cell.value for cell in cells if isinstance(cell, Quantity)]
    largest = max((value for value in values if value is not None), default=None)
    return [cell if isinstance(cell, str) else _shown(cell, largest) for cell in cells]


def size(value: float, largest: float | None = None) -> str:
    """Bytes in the unit that leaves one to three digits before the point (powers of 1000)."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"), largest)


def flops(value: float, largest: float | None = None) -> str:
    """FLOPs in the unit that leaves one to three digits before the point."""
    return _scaled(value, ("", "k", "M", "G", "T", "P"), largest).rstrip()


def seconds(value: float, largest: float | None = None) -> str:
    """A duration; small ones in milliseconds."""
    if (value if largest is None else largest) < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 0.0995:
        return f"{value:.3f} s"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def share(part: float, whole: float) -> str:
    """`part` of `whole` in percent."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _shown(quantity: Quantity, largest: float | None) -> str:
    return "–" if quantity.value is None else quantity.shown(quantity.value, largest)


def _scaled(value: float, units: tuple[str, ...], largest: float | None) -> str:
    index, most = 0, abs(value if largest is None else largest)
    while most >= 999.5 and index < len(units) - 1:
        value, most, index = value / 1000, most / 1000, index + 1
    digits = f"{value:.0f}" if index == 0 or value >= 99.95 else f"{round(value, 3):.3g}"
    return f"{digits} {units[index]}"

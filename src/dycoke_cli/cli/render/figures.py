"""Tables: a row per answer, or per figure of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import Unit, column, count, share
from dycoke_cli.unicode import one_line, shown


def as_text(value: str | None, largest: float | None = None) -> str:
    """The unit of a column of texts, which is left-aligned."""
    return one_line(value or "")


class Column(NamedTuple):
    """A column of a table; or a line of one that has a column for each answer."""

    heading: str
    value: Callable[[Any], Any]  # of a row: a number, a text, or None, which is a dash
    unit: Unit = count


def table(
    rows: Iterable[Any],
    columns: Sequence[Column],
    caption: str = "",
    *,
    title: str = "",
    numbers: Sequence[int] | None = None,
) -> Table:
    """Table with a line per row, figures on the right of their columns; narrow cells wrap.

    Args:
        caption: text below it.
        title: text above it.
        numbers: of the rows, in a column before the others.
    """
    made = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=Text(one_line(title)) if title else None,
        title_justify="left",
        caption=Text(caption) if caption else None,
        caption_justify="left",
    )
    rows, cells = [*rows], []
    if numbers is not None:
        made.add_column("#", justify="right")
        cells.append([*map(str, numbers)])
    for heading, value, unit in columns:
        is_text = unit is as_text
        made.add_column(Text(heading), justify="left" if is_text else "right", overflow="fold")
        values = [value(row) for row in rows]
        cells.append([unit(one, None) for one in values] if is_text else column(values, unit))
    for line in zip(*cells, strict=True):
        made.add_row(*map(Text, line))
    return made


def texts(
    rows: Iterable[Sequence[str]], headings: Sequence[str], caption: str = "", title: str = ""
) -> Table:
    """Table of texts."""
    columns = [Column(name, itemgetter(place), as_text) for place, name in enumerate(headings)]
    return table(rows, columns, caption, title=title)


def figure_rows(figures: Iterable[Column], *sides: Any) -> Iterator[list[str]]:
    """Name and values of each figure of one or two answers; of two, the ratio as well."""
    for heading, value, unit in figures:
        values = [value(side) for side in sides]
        ratio = [] if len(sides) < 2 else ["–" if None in values else share(*values)]
        yield [heading, *column(values, unit), *ratio]


def named(rows: Iterable[tuple[str, str]]) -> Table:
    """Table of names and values, one per line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(shown(value)))
    return table


def points(share: float | None, largest: float | None = None) -> str:
    """Format a share in percent with one digit; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f}"


def per_cent(share: float, largest: float | None = None) -> str:
    """Format a share in percent without digits."""
    return f"{100 * share:.0f} %"


def score(value: float, largest: float | None = None) -> str:
    """Format a judge's mean score."""
    return f"{value:.2f}"

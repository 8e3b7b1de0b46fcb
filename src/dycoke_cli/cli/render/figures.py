"""Building blocks of tables with figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import Unit, column, count, share
from dycoke_cli.unicode import one_line, shown

_TEXT_WIDTH = 12
"""Least width of a column of texts, which wrap."""


class FigureTable(Table):
    """A table that shows its rows one below the other where the terminal is too narrow for it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich calls it."""
        headings = [_text(column.header) for column in self.columns]
        cells = [[*map(_text, column.cells)] for column in self.columns]
        # Columns have blanks beside them, and lines or blanks of the box between.
        needed = (sum(self.padding[1::2]) + 1) * len(cells) + (1 if self.show_edge else -1)
        for of, heading, texts in zip(self.columns, headings, cells, strict=True):
            widest = max(text.cell_len for text in (heading, *texts))
            needed += widest if of.no_wrap else min(widest, _TEXT_WIDTH)
        if needed <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        if self.title:
            yield self.title
        # The first column names a row, with the texts that follow it.
        is_text = (column.justify == "left" for column in self.columns[1:])
        names = 1 + len([*takewhile(bool, is_text)])
        for row in zip(*cells, strict=True):
            yield Text(" ").join(row[:names]).append(":")
            rest = Table.grid(padding=(0, 2))
            rest.add_column(no_wrap=True)
            rest.add_column(overflow="fold")
            for pair in zip(headings[names:], row[names:], strict=True):
                rest.add_row(*pair)
            yield Padding(rest, (0, 0, 0, 2))
        if self.caption:
            yield self.caption


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))


def as_text(value: str | None, largest: float | None = None) -> str:
    """The unit of a column of texts, which is left-aligned and wraps."""
    return one_line(value or "")


def as_name(value: str, largest: float | None = None) -> str:
    """The unit of a column of names, which is left-aligned and doesn't wrap."""
    return one_line(value)


class Column(NamedTuple):
    """A column of a table; or a line of one that has a column for each answer."""

    heading: str
    value: Callable[[Any], Any]  # of a row: a number, a text, or None, which is a dash
    unit: Unit = count


def table(
    rows: Sequence[Any],
    columns: Sequence[Column],
    caption: str = "",
    *,
    numbers: Sequence[int] | None = None,
) -> FigureTable:
    """Table with a line per row, figures on the right of their columns.

    Args:
        caption: text below it.
        numbers: of the rows, in a column before the others.
    """
    made = FigureTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    cells = []
    if numbers is not None:
        made.add_column("#", justify="right", no_wrap=True)
        cells.append([*map(str, numbers)])
    for heading, value, unit in columns:
        of_texts = unit in (as_text, as_name)
        if unit is as_text:
            made.add_column(heading, overflow="fold")
        else:
            made.add_column(heading, justify="left" if of_texts else "right", no_wrap=True)
        values = [value(row) for row in rows]
        cells.append([unit(one, None) for one in values] if of_texts else column(values, unit))
    for line in zip(*cells, strict=True):
        made.add_row(*map(Text, line))
    if caption:
        made.caption, made.caption_justify = Text(caption), "left"
    return made


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

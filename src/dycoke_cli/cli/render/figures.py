"""Building blocks of tables with figures."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dycoke_cli.unicode import shown

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
        for column, heading, texts in zip(self.columns, headings, cells, strict=True):
            widest = max(text.cell_len for text in (heading, *texts))
            needed += widest if column.no_wrap else min(widest, _TEXT_WIDTH)
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


def headed(*headings: str) -> FigureTable:
    """Empty table with right-aligned columns."""
    table = FigureTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def with_texts(table: FigureTable, headings: tuple[str, ...]) -> FigureTable:
    """Make columns left-aligned and wrapping, for texts."""
    for column in table.columns:
        if column.header in headings:
            column.justify, column.no_wrap, column.overflow = "left", False, "fold"
    return table


def explained(table: Table, text: str) -> Table:
    """Add a caption below a table."""
    table.caption, table.caption_justify = Text(text), "left"
    return table


def named(rows: Iterable[tuple[str, str]]) -> Table:
    """Table of names and values, one per line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(shown(value)))
    return table


def points(share: float | None) -> str:
    """Format a share in percent with one digit; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f}"


def score(value: float | None) -> str:
    """Format a judge's mean score; a dash for None."""
    return "–" if value is None else f"{value:.2f}"

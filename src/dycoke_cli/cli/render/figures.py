"""Building blocks of tables with figures."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dycoke_cli.unicode import shown


def headed(*headings: str) -> Table:
    """Empty table with right-aligned columns."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def with_texts(table: Table, headings: tuple[str, ...]) -> Table:
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

"""Tables of figures, as the pages of an evaluation have them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.text import shown


def headed(*headings: str) -> Table:
    """An empty table with these columns, their numbers one below the other."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def with_texts(table: Table, headings: tuple[str, ...]) -> Table:
    """A table whose columns of these headings have texts, which take the lines that they need."""
    for column in table.columns:
        if column.header in headings:
            column.justify, column.no_wrap, column.overflow = "left", False, "fold"
    return table


def explained(table: Table, text: str) -> Table:
    """A table with a text below it."""
    table.caption, table.caption_justify = Text(text), "left"
    return table


def named(rows: Iterable[tuple[str, str]]) -> Table:
    """Names, and what there is to say of each, on lines of their own."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(shown(value)))
    return table


def points(share: float | None) -> str:
    """A share in percent, with one digit; a dash where it isn't known."""
    return "–" if share is None else f"{100 * share:.1f}"


def score(value: float | None) -> str:
    """A judge's mean score."""
    return "–" if value is None else f"{value:.2f}"

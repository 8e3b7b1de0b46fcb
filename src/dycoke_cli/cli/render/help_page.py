"""A help page, laid out for people."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

# A line of help that is longer is hard to read; a name that is longer has a line of its own.
_WIDEST_PAGE, _WIDEST_NAME = 110, 28


@dataclass(frozen=True)
class Row:
    """What stands on the left of a panel, and what it is."""

    name: str
    help: str


@dataclass(frozen=True)
class Panel:
    """Rows under a title."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Page:
    """What a command is for, and all that may be given to it.

    Args:
        usage: the form of a command line.
        summary: a sentence.
        examples: command lines.
        details: more paragraphs.
        panels: those without rows aren't shown.
        more: a last line, of what isn't shown.
    """

    usage: str
    summary: str
    examples: tuple[str, ...]
    details: tuple[str, ...]
    panels: tuple[Panel, ...]
    more: str = ""


def help_page(page: Page, *more: Panel) -> None:
    """Print a page to stdout, in the width that there is.

    Args:
        page: of a command.
        more: panels behind its own.
    """
    columns = shutil.get_terminal_size((80, 24)).columns
    width = max(40, min(columns, _WIDEST_PAGE))
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
    console.print(Text.assemble(("Usage: ", "bold"), page.usage))
    console.print()
    console.print(page.summary)
    if page.examples:
        console.print(Text("\nExamples:", style="bold"))
        for line in page.examples:
            # A command line that is too long is broken by the terminal, so that it can be copied.
            console.print(Text(f"  {line}", style="cyan"), soft_wrap=True)
    for paragraph in page.details:
        console.print()
        console.print(paragraph)
    console.print()
    panels = [panel for panel in (*page.panels, *more) if panel.rows]
    names = (len(row.name) for panel in panels for row in panel.rows)
    widest = max((length for length in names if length <= _WIDEST_NAME), default=0)
    for panel in panels:
        console.print(_frame(panel, widest))
    if page.more:
        console.print(Text(page.more, style="dim"))


def _frame(panel: Panel, widest: int) -> Frame:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="cyan", width=widest, overflow="fold")
    table.add_column(ratio=1)
    for row in panel.rows:
        table.add_row(Text(row.name), Text(row.help))
    return Frame(table, title=panel.title, title_align="left", border_style="dim")

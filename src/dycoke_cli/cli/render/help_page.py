"""Layout of a help page."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.page_content import Page, Panel

# Longer lines are hard to read; longer names are wrapped, so that one name doesn't widen a column.
_WIDEST_PAGE, _WIDEST_NAME = 110, 28
# Below it, texts stand under the names.
_NARROW = 60


def help_page(page: Page) -> None:
    """Print a page to stdout, fitted to the terminal's width."""
    columns = shutil.get_terminal_size((80, 24)).columns
    width = max(40, min(columns, _WIDEST_PAGE))
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
    console.print(Text.assemble(("Usage: ", "bold"), page.usage))
    console.print()
    console.print(page.summary)
    if page.examples:
        console.print(Text("\nExamples:", style="bold"))
        for line in page.examples:
            # Not wrapped by Rich, so that a long command line can be copied.
            console.print(Text(f"  {line}", style="cyan"), soft_wrap=True)
    for paragraph in page.details:
        console.print()
        console.print(paragraph)
    console.print()
    panels = [panel for panel in page.panels if panel.rows]
    names = (len(row.name) for panel in panels for row in panel.rows)
    widest = max((length for length in names if length <= _WIDEST_NAME), default=0)
    for panel in panels:
        console.print(_frame(panel, widest, width))
    if page.more:
        console.print(Text(page.more, style="dim"))


def _frame(panel: Panel, widest: int, width: int) -> Frame:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    if width < _NARROW:
        table.add_column(overflow="fold")
        for row in panel.rows:
            table.add_row(Text(row.name, style="cyan"))
            table.add_row(Padding(Text(row.help), (0, 0, 0, 2)))
    else:
        table.add_column(style="cyan", width=widest, overflow="fold")
        table.add_column(ratio=1)
        for row in panel.rows:
            table.add_row(Text(row.name), Text(row.help))
    return Frame(table, title=panel.title, title_align="left", border_style="dim")

"""Content of a help page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Entry of a panel: name of a flag, argument or command, and its help."""

    name: str
    help: str


@dataclass(frozen=True)
class Panel:
    """Titled group of rows."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Page:
    """Content of a command's help page.

    Args:
        usage: synopsis of the command line.
        summary: one sentence.
        examples: command lines.
        details: further paragraphs.
        panels: panels; empty ones aren't shown.
        more: last line, about hidden flags.
    """

    usage: str
    summary: str
    examples: tuple[str, ...]
    details: tuple[str, ...]
    panels: tuple[Panel, ...]
    more: str = ""

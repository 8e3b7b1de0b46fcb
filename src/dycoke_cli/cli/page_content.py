"""Content of a help page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HelpRow:
    """Entry of a panel: name of a flag, argument or command, and its help."""

    name: str
    help: str


@dataclass(frozen=True)
class Panel:
    """Titled group of rows."""

    title: str
    rows: tuple[HelpRow, ...]


@dataclass(frozen=True)
class Page:
    """Content of a command's help page."""

    usage: str  # synopsis of the command line
    summary: str  # one sentence
    examples: tuple[str, ...]  # command lines
    details: tuple[str, ...]  # further paragraphs
    panels: tuple[Panel, ...]  # panels; empty ones aren't shown
    more: str = ""  # last line, about hidden flags

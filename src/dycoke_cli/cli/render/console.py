"""Consoles for stdout and stderr, and one-line messages on stderr."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text
from typing_extensions import override

from dycoke_cli.unicode import one_line, shown


def stderr_console() -> Console:
    """Console for the current `sys.stderr`, created per call, since tests replace the stream."""
    return _console(to_terminal=sys.stderr.isatty(), stderr=True)


def animates() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and not stderr_console().is_dumb_terminal


def to_stderr(renderable: RenderableType) -> None:
    """Print to stderr."""
    stderr_console().print(renderable)


def to_stdout(renderable: RenderableType) -> None:
    """Print to stdout."""
    stdout_console().print(renderable)


def stdout_console() -> Console:
    """Console for the current `sys.stdout`, created per call."""
    return _console(to_terminal=sys.stdout.isatty(), stderr=False)


def note(text: str) -> None:
    """Print a note."""
    _line(Text(one_line(text), style="dim"))


def question(text: str) -> None:
    """Print the question that the next answer on stdout belongs to."""
    _line(Text(f"> {one_line(text)}", style="bold"))


def warning(text: str) -> None:
    """Print a warning."""
    _line(Text.assemble(("Warning: ", "yellow"), one_line(text)))


def failed(reason: str) -> None:
    """Print a failure."""
    _line(Text.assemble(("Failed: ", "red"), one_line(reason)))


def check(name: str, verdict: str, detail: str) -> None:
    """Print the result of a check."""
    style = "green" if verdict == "ok" else "red"
    _line(Text.assemble((f"{verdict:8}", style), f"{one_line(name)}: {one_line(detail)}"))


def _line(text: Text) -> None:
    # Not wrapped unless on a terminal, so that a program can search for a message.
    stderr_console().print(text, soft_wrap=not sys.stderr.isatty())


class _Console(Console):
    """Console that escapes terminal control characters in all text."""

    @override
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))


def _console(*, to_terminal: bool, stderr: bool) -> Console:
    return _Console(
        stderr=stderr,
        markup=False,
        highlight=False,
        emoji=False,
        # Without a terminal or $COLUMNS, Rich assumes 80 columns and wraps names.
        width=None if to_terminal else shutil.get_terminal_size((100, 24)).columns,
    )

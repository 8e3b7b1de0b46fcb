"""Reporting of errors: one sentence on stderr, and an exit code."""

from __future__ import annotations

import shutil
import sys
import textwrap
import traceback

from dycoke_cli.errors import DycokeError, debugging
from dycoke_cli.models import explaining
from dycoke_cli.unicode import one_line, shown


class Interrupted(DycokeError):
    """The user pressed Ctrl-C."""

    code = "interrupted"
    exit_code = 130


class Reported(Exception):
    """Failure whose JSON object is already on stdout; only the line on stderr is missing."""

    def __init__(self, reason: DycokeError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def explain(error: BaseException) -> DycokeError:
    """Convert any exception to an error with a message for the user."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted")
    return explaining.explain(error)


def say(error: DycokeError) -> None:
    """Print one line on stderr; if that fails too, only the exit code remains."""
    message = "Interrupted" if isinstance(error, Interrupted) else f"Error: {one_line(str(error))}"
    try:
        if sys.stderr.isatty():
            width = max(20, shutil.get_terminal_size().columns)
            message = textwrap.fill(message, width, break_long_words=False, break_on_hyphens=False)
        # Plain print, which works whatever else failed.
        print(message, file=sys.stderr, flush=True)
    except OSError:
        return


def show_traceback() -> None:
    """Print the traceback of the current exception on stderr, with `DYCOKE_DEBUG` only."""
    if debugging():
        print(shown(traceback.format_exc()), end="", file=sys.stderr)

"""Errors as one sentence for a person and an exit code for a program."""

from __future__ import annotations

import sys
import traceback

from dycoke_cli.cli.text import one_line, shown
from dycoke_cli.errors import DycokeError, debugging
from dycoke_cli.models import explaining


class Interrupted(DycokeError):
    """The user pressed Ctrl-C."""

    code = "interrupted"
    exit_code = 130


class Reported(Exception):
    """A failure that stdout already has an object for; stderr still needs its line."""

    def __init__(self, reason: DycokeError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def explain(error: BaseException) -> DycokeError:
    """The error for a person that `error` amounts to."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted")
    return explaining.explain(error)


def say(error: DycokeError) -> None:
    """One line on stderr; if even that can't be written, the exit code has to do."""
    message = "Interrupted" if isinstance(error, Interrupted) else f"Error: {one_line(str(error))}"
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        return


def show_traceback() -> None:
    """The traceback of the error being handled on stderr, where that is wanted."""
    if debugging():
        print(shown(traceback.format_exc()), end="", file=sys.stderr)

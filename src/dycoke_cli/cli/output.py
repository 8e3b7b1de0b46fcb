"""Output: answers and JSON objects on stdout, errors as one sentence on stderr, and files."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer

from dycoke_cli.engine import explaining
from dycoke_cli.errors import DycokeError, OutputError, debugging
from dycoke_cli.unicode import one_line, shown, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType


class Interrupted(DycokeError):
    """The user pressed Ctrl-C, by which `serve` ends with 0."""

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


def write(text: str) -> None:
    """Write to stdout and flush, so that streamed text survives an interrupt.

    Terminal control characters are escaped (JSON has none).
    """
    try:
        sys.stdout.write(shown(text))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout.fileno())  # otherwise the flush at exit raises the error again
        raise OutputError(
            f"standard output can't be written ({error.strerror}); free some space there, "
            "or send it elsewhere"
        ) from error


def write_json(document: dict[str, Any]) -> None:
    """Write one JSON object as a line of ASCII."""
    write(to_json(document) + "\n")


def show(document: Any, as_json: bool, laid_out: Callable[[Any], RenderableType]) -> None:
    """Print a dataclass as one JSON object, or as it is laid out for people."""
    if as_json:
        from dycoke_cli.answer.json_schema import to_dict

        write_json(to_dict(document))
    else:
        from dycoke_cli.cli.render import to_stdout

        to_stdout(laid_out(document))


def error_document(schema: str, error: DycokeError, **where: Any) -> dict[str, Any]:
    """Error object in place of a result."""
    from dycoke_cli.answer.answer import Error, Failure  # imported late: they are for errors alone
    from dycoke_cli.answer.json_schema import to_dict

    document: dict[str, Any] = to_dict(Failure(schema=schema, error=Error.of(error), **where))
    return document


refused: list[DycokeError] = []
"""Why the flags of a command with --json are refused, until it says what its objects are about."""


@contextmanager
def failures_as_json(wanted: bool, schema: str, waiting: list[dict[str, Any]]) -> Iterator[None]:
    """If wanted and the block fails, write an error object for each entry left in `waiting`."""
    try:
        if refused:
            raise refused.pop()
        yield
    except (typer.Exit, BrokenPipeError):  # results were written, or nobody reads them
        raise
    except (Exception, KeyboardInterrupt) as error:
        if not wanted:
            raise
        reason = explain(error)
        # If stdout itself failed, the error is only on stderr and in the exit code.
        with suppress(OutputError):
            for where in waiting:
                write_json(error_document(schema, reason, **where))
        raise Reported(reason) from error


def silence(descriptor: int) -> None:
    """Redirect a descriptor to /dev/null, so that flushing its buffer at exit doesn't fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


class AnswerText:
    """Streams one answer to stdout, with a newline at the end."""

    def __init__(self, single_line: bool, label: str = "") -> None:
        self._single_line, self._label = single_line, label
        self._open = False
        self._at_line_start = True

    def add(self, text: str) -> None:
        """Write the next part of the answer."""
        if not self._open:  # many models begin their answer with a space or newline
            text = text.lstrip()
        if not text:
            return
        if self._single_line:
            text = text.replace("\r", " ").replace("\n", " ")
        write(text if self._open else self._label + text)
        self._open = True
        self._at_line_start = text.endswith("\n")

    def end(self) -> None:
        """End the answer with a newline unless it has one; an empty answer is an empty line."""
        if not self._open:
            write(f"{self._label.rstrip()}\n")
        elif not self._at_line_start:
            write("\n")
        self._open = False

    def abandon(self) -> None:
        """End the line of an unfinished answer, if any of it was written."""
        if self._open:
            self.end()


def line(text: str) -> None:
    """Write one line of text to stdout."""
    write(one_line(text) + "\n")

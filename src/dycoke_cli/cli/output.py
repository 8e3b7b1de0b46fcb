"""What goes to stdout: answers as text while they come, or one JSON object per question."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from dycoke_cli.answer.answer import Error, Failure
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli.failure import Reported, explain
from dycoke_cli.cli.text import one_line, shown
from dycoke_cli.errors import DycokeError, OutputError
from dycoke_cli.unicode import to_json


def write(text: str) -> None:
    """Write to stdout at once, so that what was streamed survives an interrupt.

    What a terminal would interpret is escaped; JSON has none of it.

    Raises:
        BrokenPipeError: the reader has gone.
        OutputError: nothing can be written there.
    """
    try:
        sys.stdout.write(shown(text))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout.fileno())
        raise OutputError(
            f"standard output can't be written ({error.strerror}); free some space there, "
            "or send it elsewhere"
        ) from error


def write_json(document: dict[str, Any]) -> None:
    """Write one object on a line of its own; ASCII only, so that every terminal can show it."""
    write(to_json(document) + "\n")


def error_document(schema: str, error: DycokeError, **where: Any) -> dict[str, Any]:
    """The object that stands in the place of a result: what failed, and where."""
    document: dict[str, Any] = to_dict(Failure(schema=schema, error=Error.of(error), **where))
    return document


@contextmanager
def failures_as_json(schema: str, waiting: list[dict[str, Any]]) -> Iterator[None]:
    """When something fails, write an error object for each entry that is left in `waiting`.

    Args:
        schema: of the results that would have come.
        waiting: what each result would have been about; the body removes what is done.

    Raises:
        Reported: in place of whatever failed.
    """
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except (Exception, KeyboardInterrupt) as error:
        reason = explain(error)
        # Where stdout itself is what failed, stderr and the exit code have to do.
        with suppress(OutputError):
            for where in waiting:
                write_json(error_document(schema, reason, **where))
        raise Reported(reason) from error


def silence(descriptor: int) -> None:
    """Send what is still buffered for `descriptor` nowhere, so that leaving doesn't fail on it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


class AnswerText:
    """One answer on stdout, while it is made: the text as it comes, a newline at its end.

    Args:
        single_line: keep the answer on one line, where several answers follow each other.
    """

    def __init__(self, single_line: bool) -> None:
        self._single_line = single_line
        self._open = False
        self._at_line_start = True

    def add(self, piece: str) -> None:
        """Write the next piece of the answer."""
        if not self._open:
            piece = piece.lstrip()
        if not piece:
            return
        if self._single_line:
            piece = piece.replace("\r", " ").replace("\n", " ")
        write(piece)
        self._open = True
        self._at_line_start = piece.endswith("\n")

    def end(self) -> None:
        """End the answer with a newline, if it doesn't end with one; an empty one is a line."""
        if not self._open or not self._at_line_start:
            write("\n")
        self._open = False

    def abandon(self) -> None:
        """Keep what came of an answer that won't be finished, and end its line."""
        if self._open:
            self.end()


def line(text: str) -> None:
    """Write one line of text to stdout."""
    write(one_line(text) + "\n")

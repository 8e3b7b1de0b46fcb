"""Results of a batch: one JSON object per line, in a file by which a run is resumed.

What is made of the lines at the end is in `output_formats.py`, by suffix.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dycoke_cli.answer.answer import SCHEMA, Error
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.engine.explaining import explain
from dycoke_cli.errors import OutputError
from dycoke_cli.runs.journal import Journal, open_journal
from dycoke_cli.runs.output_formats import ANSWERS
from dycoke_cli.runs.tables import about, current
from dycoke_cli.storage.input_file import read_lines
from dycoke_cli.storage.output_file import check_output_file, check_suffix, replace_content
from dycoke_cli.unicode import to_json


@dataclass(frozen=True)
class Outcome:
    """One line."""

    key: str  # of the question, see `Plan.key`
    line: dict[str, Any]  # the object, an answer or an error
    # to answer, after the video was encoded. Questions that were answered together have equal
    # shares.
    seconds: float = 0.0
    together: int = 1  # how many questions were answered with this one, itself included

    @classmethod
    def of(cls, ask: Ask, event: Answered | Failed) -> Outcome:
        """The line of a question, from its last event."""
        assert ask.key is not None, "only questions of a run have lines"
        if isinstance(event, Failed):
            return cls(ask.key, ask.failure(Error.of(explain(event.error))))
        return cls(ask.key, event.answer.to_dict(), event.seconds, event.together)

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return "error" in self.line

    @property
    def warned(self) -> bool:
        """Whether the answer has warnings."""
        return bool(self.line.get("warnings"))


def reason(line: dict[str, Any]) -> str:
    """The video and the reason, from the line of a question that failed."""
    message = str(line["error"]["message"])
    return message if line["video"] in message else f"{line['video']}: {message}"


@dataclass(frozen=True)
class Known:
    """What there is of a question: its last line."""

    failed: bool = False
    warned: bool = False  # whether the answer has warnings


class Results(Protocol):
    """Destination of outcomes."""

    def known(self, key: str) -> Known | None:
        """What an earlier run has left of a question; None for nothing."""

    def add(self, outcome: Outcome) -> None:
        """Write a line; when this returns, a crash of the process can't take it back."""


class ResultsFile(Journal):
    """A file of results in JSON Lines."""

    what = "a line of results of dycoke batch"
    begin = f'{{"schema": "{SCHEMA}"'.encode()
    drops_damaged = False

    def __init__(self, path: Path) -> None:
        self._known: dict[str, Known] = {}
        # After a retry a key has two lines, and a clip that failed may have been replaced. The
        # first line is removed when the file is closed: while the run appends, nothing that is
        # written is touched.
        self._replaced = False
        self._failed: set[str] = set()  # what the lines of failures are about
        super().__init__(path)

    def known(self, key: str) -> Known | None:
        """See `Results`."""
        return self._known.get(key)

    def add(self, outcome: Outcome) -> None:
        """Write a line; when this returns, a crash of the process can't take it back."""
        self.write((to_json(outcome.line) + "\n").encode("ascii"))
        self._note(outcome.line)

    def take(self, line: bytes) -> None:
        """Take in a line that is in the file."""
        found = json.loads(line)
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise ValueError("no answer")
        if not isinstance(found.get("key"), str):
            raise ValueError("an answer of another command")
        self._note(found)

    def close(self) -> None:
        """Close the file, and drop the lines that later ones replace."""
        super().close()
        if not self._replaced:
            return
        try:
            last: dict[str, tuple[bytes, dict[str, Any]]] = {}
            for content in read_lines(self.path):
                line = json.loads(content)
                last.pop(line["key"], None)
                last[line["key"]] = content, line
            count = {line["key"] for line in current([line for _, line in last.values()])}
            # What was answered stays, for its file may come back.
            left = (c for c, line in last.values() if line["key"] in count or "error" not in line)
            replace_content(self.path, b"".join(left))
        except OSError as error:
            raise OutputError(
                f"{self.path} has all answers, but can't be put in order ({error.strerror}); free "
                "some space and run the same command again"
            ) from error

    def _note(self, line: dict[str, Any]) -> None:
        key = line["key"]
        self._replaced = self._replaced or key in self._known or about(line) in self._failed
        if failed := "error" in line:
            self._failed.add(about(line))
        self._known[key] = Known(failed, bool(line.get("warnings")))


def check_place(path: Path) -> None:
    """Refuse a path at which no results file can be created."""
    why = "leave out --out, and the lines go to stdout"
    check_output_file(path, "--out", why, folder=OutputError)
    check_suffix(path, ANSWERS, "--out")


def open_results(path: Path) -> AbstractContextManager[ResultsFile]:
    """Lock a results file and open it for appending; creates it if necessary."""
    check_place(path)
    return open_journal(ResultsFile, path)

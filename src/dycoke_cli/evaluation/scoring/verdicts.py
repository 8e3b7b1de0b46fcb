"""Verdicts of a judge, and their journal (one per line)."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from dycoke_cli.answer.json_schema import from_dict
from dycoke_cli.errors import OutputError
from dycoke_cli.runs.journal import Journal, open_journal
from dycoke_cli.unicode import to_json

FILE = "verdicts.jsonl"


@dataclass(frozen=True)
class Verdict:
    """Verdict of a judge on an answer."""

    key: str  # hash of question, reference, answer, requested model and prompt
    correct: bool | None  # None if the prompt asks for a score only, or if the verdict failed
    score: float | None  # from 0 to 5; None if the verdict failed
    error: str | None  # why it failed, or None
    model: str | None  # model name as returned by the endpoint; None without a reply
    prompt: str  # version of the prompt
    date: str  # time in UTC
    reply: str = ""  # the judge's last reply


class Verdicts(Journal):
    """Journal of verdicts, one JSON object per line.

    Attributes:
        verdicts: verdicts by key; a later line replaces an earlier one.
    """

    what = "a file of verdicts of dycoke eval"
    begin = b'{"key": "'

    def __init__(self, path: Path) -> None:
        self.verdicts: dict[str, Verdict] = {}
        super().__init__(path)

    def add(self, verdict: Verdict) -> None:
        """Append a verdict; it survives a crash of the process once this returns."""
        self.write((to_json(asdict(verdict)) + "\n").encode("ascii"))
        self.verdicts[verdict.key] = verdict

    def take(self, line: bytes) -> None:
        """Parse a line of the file."""
        verdict: Verdict = from_dict(Verdict, json.loads(line))
        self.verdicts[verdict.key] = verdict


def open_verdicts(folder: Path) -> AbstractContextManager[Verdicts]:
    """Open and lock the verdicts in a folder, which is created if it is missing."""
    return open_journal(Verdicts, folder / FILE)


def read_verdicts(folder: Path) -> dict[str, Verdict]:
    """Read the verdicts of a folder, by key, without locking."""
    path = folder / FILE
    try:
        return Verdicts(path).verdicts
    except OSError as error:
        raise OutputError(f"{path} can't be read ({error.strerror})") from error

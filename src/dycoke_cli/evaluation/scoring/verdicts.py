"""What a judge made of answers: a verdict per line as it comes, and their count."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    """What a judge made of an answer.

    Args:
        key: of question, reference, answer, the judge's model as it was asked for, and the prompt.
        correct: None where the prompt doesn't ask, or the verdict failed.
        score: from 0 to 5; None where it failed.
        error: why it failed, or None.
        model: as the endpoint returned it; None where it returned nothing.
        prompt: its version.
        date: when, in UTC.
        reply: the judge's last words.
    """

    key: str
    correct: bool | None
    score: float | None
    error: str | None
    model: str | None
    prompt: str
    date: str
    reply: str = ""


@dataclass(frozen=True)
class Summary:
    """What verdicts amount to.

    Args:
        judged: all of them.
        failed: without a verdict; in `accuracy` and `score` they count as wrong and as 0.
        accuracy: share of correct answers; None where the prompt doesn't ask.
        score: mean, from 0 to 5.
        models: that the endpoint named.
        dates: the first and the last day, in UTC.
    """

    judged: int
    failed: int
    accuracy: float | None
    score: float
    models: tuple[str, ...]
    dates: tuple[str, str]


def summarized(verdicts: Sequence[Verdict]) -> Summary:
    """Verdicts, one at least, counted."""
    days = sorted(verdict.date[:10] for verdict in verdicts)
    asked = any(verdict.correct is not None for verdict in verdicts)
    correct = sum(verdict.correct is True for verdict in verdicts)
    return Summary(
        judged=len(verdicts),
        failed=sum(verdict.error is not None for verdict in verdicts),
        accuracy=correct / len(verdicts) if asked else None,
        score=sum(verdict.score or 0 for verdict in verdicts) / len(verdicts),
        models=tuple(sorted({verdict.model for verdict in verdicts if verdict.model})),
        dates=(days[0], days[-1]),
    )


class Verdicts(Journal):
    """Verdicts, one JSON object per line.

    Attributes:
        verdicts: by key; the later line counts.
    """

    what = "a file of verdicts of dycoke eval"
    begin = b'{"key": "'

    def __init__(self, path: Path) -> None:
        self.verdicts: dict[str, Verdict] = {}
        super().__init__(path)

    def add(self, verdict: Verdict) -> None:
        """Write a verdict down; when this returns, a crash of the process can't take it back.

        Raises:
            OutputError: it can't be written; the file is as it was.
        """
        self.write((to_json(asdict(verdict)) + "\n").encode("ascii"))
        self.verdicts[verdict.key] = verdict

    def take(self, line: bytes) -> None:
        """Take in a line that is in the file."""
        verdict: Verdict = from_dict(Verdict, json.loads(line))
        self.verdicts[verdict.key] = verdict


def open_verdicts(folder: Path) -> AbstractContextManager[Verdicts]:
    """Open the verdicts of a folder, which is made where it isn't there, and lock them.

    Raises:
        OutputError: another run is judging there, the file is somebody else's, or nothing can be
            written there.
    """
    return open_journal(Verdicts, folder / FILE)


def read_verdicts(folder: Path) -> dict[str, Verdict]:
    """The verdicts of a folder by key, as they are now; nothing is written.

    Raises:
        OutputError: they can't be read.
    """
    path = folder / FILE
    try:
        return Verdicts(path).verdicts
    except OSError as error:
        raise OutputError(f"{path} can't be read ({error.strerror})") from error

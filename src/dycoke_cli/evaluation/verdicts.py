"""What a judge made of answers: a verdict per line as it comes, and their count."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dycoke_cli.errors import OutputError
from dycoke_cli.runs.journal import check_own, full, locked, replace_content, unwritable
from dycoke_cli.unicode import to_json

FILE = "verdicts.jsonl"
_BEGIN = b'{"key": "'


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


class VerdictJournal:
    """Verdicts in a file, one JSON object per line. Made by `open_verdicts`.

    Attributes:
        verdicts: by key; the later line counts.
        damaged: lines that were no verdicts, such as one that was half written; they are asked
            again.
    """

    def __init__(self, path: Path) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.damaged = 0
        self._path = path
        if path.exists():
            self._read()
        self._file = path.open("ab", buffering=0)

    def _read(self) -> None:
        content = self._path.read_bytes()
        self.verdicts, self.damaged = _understood(content)
        if self.damaged or not content.endswith(b"\n"):
            replace_content(self._path, b"".join(map(_line, self.verdicts.values())))

    def add(self, verdict: Verdict) -> None:
        """Write a verdict down; when this returns, a crash of the process can't take it back.

        Raises:
            OutputError: it can't be written.
        """
        size = os.fstat(self._file.fileno()).st_size
        content = _line(verdict)
        try:
            while content:
                content = content[self._file.write(content) or 0 :]
        except OSError as error:
            self._file.truncate(size)
            raise OutputError(full(self._path, error)) from error
        self.verdicts[verdict.key] = verdict

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def open_verdicts(folder: Path) -> Iterator[VerdictJournal]:
    """Open the verdicts of a folder, which is made where it isn't there, and lock them.

    Raises:
        OutputError: another run is judging there, the file is somebody else's, or nothing can be
            written there.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(path):
            check_verdicts(folder)
            journal = VerdictJournal(path)
            try:
                yield journal
            finally:
                journal.close()
    except OSError as error:
        raise OutputError(unwritable(path, error)) from error


def check_verdicts(folder: Path) -> None:
    """Refuse a folder in which somebody else's file has the name of the verdicts.

    Raises:
        OutputError: it has; or that can't be read.
    """
    check_own(folder / FILE, _BEGIN, "a file of verdicts of dycoke eval")


def read_verdicts(folder: Path) -> dict[str, Verdict]:
    """The verdicts of a folder by key, as they are now; nothing is written.

    Raises:
        OutputError: they can't be read.
    """
    path = folder / FILE
    try:
        return _understood(path.read_bytes())[0]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OutputError(f"{path} can't be read ({error.strerror})") from error


def _understood(content: bytes) -> tuple[dict[str, Verdict], int]:
    """Verdicts by key, and how many lines are none."""
    verdicts, damaged = {}, 0
    for line in content.splitlines():
        try:
            verdict = Verdict(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            damaged += 1
        else:
            verdicts[verdict.key] = verdict
    return verdicts, damaged


def _line(verdict: Verdict) -> bytes:
    return (to_json(asdict(verdict)) + "\n").encode("ascii")

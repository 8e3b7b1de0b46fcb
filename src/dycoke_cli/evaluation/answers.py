"""Journal of an evaluation: one JSON object per line and answer, so that a run can resume.

A line that begins with `{"setup": …, "about": …}` defines a setup; all others are answers. Each
line has a checksum: lines damaged by a crash, a full disk or an editor are dropped, and those
questions are run again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dycoke_cli.answer.json_schema import from_dict, keys, to_dict
from dycoke_cli.evaluation.prediction import Prediction, Setup
from dycoke_cli.runs.journal import Journal, open_journal

FILE = "answers.jsonl"


class Answers(Journal):
    """Answers of an evaluation, by setup and question.

    Attributes:
        setups: setups in the file, by their id there.
    """

    what = "a journal of dycoke eval"
    begin = b'{"setup": "'

    def __init__(self, path: Path) -> None:
        self.setups: dict[str, Setup] = {}
        self._predictions: dict[str, dict[str, Prediction]] = {}
        self._commits: dict[str, set[str]] = {}
        super().__init__(path)

    def predictions(self, setup: Setup) -> dict[str, Prediction]:
        """Answers of a setup so far, by question."""
        return self._predictions.get(setup.id, {})

    def commits(self, setups: Iterable[Setup]) -> set[str]:
        """Commits of this program that produced the answers of these setups, where known."""
        return {commit for setup in setups for commit in self._commits.get(setup.id, ())}

    def add(self, setup: Setup, prediction: Prediction, commit: str | None) -> None:
        """Append an answer; it survives a crash of the process once this returns."""
        lines: list[dict[str, Any]] = []
        if setup.id not in self.setups:
            lines.append({"setup": setup.id, "about": asdict(setup)})
        lines.append({"setup": setup.id, "commit": commit, **to_dict(prediction)})
        self.write("".join(map(_with_checksum, lines)).encode("ascii"))
        for line in lines:
            self._note(line)

    def take(self, line: bytes) -> None:
        """Parse a line of the file."""
        self._note(_verified(line))

    def _note(self, line: dict[str, Any]) -> None:
        if "about" in line:
            self.setups[line["setup"]] = from_dict(Setup, _fields_of(line["about"], Setup))
            return
        setup = line["setup"]
        # An older file's id lacks fields that `Setup` got since then, so it is computed again.
        if setup in self.setups:
            setup = self.setups[setup].id
        prediction = from_dict(Prediction, _fields_of(line, Prediction))
        self._predictions.setdefault(setup, {})[prediction.item] = prediction
        if line["commit"] is not None:
            self._commits.setdefault(setup, set()).add(str(line["commit"]))


def _fields_of(line: dict[str, Any], kind: type) -> dict[str, Any]:
    """Fields of a line that a dataclass has; a missing one, added later, gets its default."""
    return {name: value for name, value in line.items() if name in keys(kind)}


def open_answers(folder: Path) -> AbstractContextManager[Answers]:
    """Open and lock the journal in a folder, which is created if it is missing."""
    return open_journal(Answers, folder / FILE)


def _with_checksum(line: dict[str, Any]) -> str:
    return json.dumps({**line, "check": _check(line)}) + "\n"


def _verified(line: bytes) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict) or content.pop("check") != _check(content):
        raise ValueError("not a line of a journal, or no longer what was written")
    return content


def _check(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())

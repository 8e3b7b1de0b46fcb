"""Every answer as it comes, one JSON object per line, so that nothing is asked twice.

A line that opens with `{"setup": …, "about": …}` says what a setup is; all others are answers. Each
line carries a checksum of itself: what a crash, a full disk or an editor left half done is found,
dropped and asked again.
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
    """The answers of an evaluation.

    Attributes:
        setups: that there are answers of, by the id that they have in the file.
    """

    what = "a journal of dycoke eval"
    begin = b'{"setup": "'

    def __init__(self, path: Path) -> None:
        self.setups: dict[str, Setup] = {}
        self._predictions: dict[str, dict[str, Prediction]] = {}
        self._commits: dict[str, set[str]] = {}
        super().__init__(path)

    def predictions(self, setup: Setup) -> dict[str, Prediction]:
        """The answers there are for a setup, by question."""
        return self._predictions.get(setup.id, {})

    def commits(self, setups: Iterable[Setup]) -> set[str]:
        """The commits of this program that gave the answers of these setups, where known."""
        return {commit for setup in setups for commit in self._commits.get(setup.id, ())}

    def add(self, setup: Setup, prediction: Prediction, commit: str | None) -> None:
        """Write an answer down; when this returns, a crash of the process can't take it back.

        Raises:
            OutputError: it can't be written; the file is as it was.
        """
        lines: list[dict[str, Any]] = []
        if setup.id not in self.setups:
            lines.append({"setup": setup.id, "about": asdict(setup)})
        lines.append({"setup": setup.id, "commit": commit, **to_dict(prediction)})
        self.write("".join(map(_sealed, lines)).encode("ascii"))
        for line in lines:
            self._note(line)

    def take(self, line: bytes) -> None:
        """Take in a line that is in the file."""
        self._note(_opened(line))

    def _note(self, line: dict[str, Any]) -> None:
        if "about" in line:
            self.setups[line["setup"]] = from_dict(Setup, _known(line["about"], Setup))
            return
        setup = line["setup"]
        if setup in self.setups:  # what a setup has got since then is part of its id, too
            setup = self.setups[setup].id
        prediction = from_dict(Prediction, _known(line, Prediction))
        self._predictions.setdefault(setup, {})[prediction.item] = prediction
        if line["commit"] is not None:
            self._commits.setdefault(setup, set()).add(str(line["commit"]))


def _known(line: dict[str, Any], kind: type) -> dict[str, Any]:
    """The fields of a line that a dataclass has; one that was added later has its default."""
    return {name: value for name, value in line.items() if name in keys(kind)}


def open_answers(folder: Path) -> AbstractContextManager[Answers]:
    """Open the answers in a folder, which is made where it isn't there, and lock them.

    Raises:
        OutputError: another run is writing to them, the file is somebody else's, or nothing can be
            written there.
    """
    return open_journal(Answers, folder / FILE)


def _sealed(line: dict[str, Any]) -> str:
    return json.dumps({**line, "check": _check(line)}) + "\n"


def _opened(line: bytes) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict) or content.pop("check") != _check(content):
        raise ValueError("not a line of a journal, or no longer what was written")
    return content


def _check(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())

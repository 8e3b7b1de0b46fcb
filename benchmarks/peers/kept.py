"""Answers that were measured, one JSON object per line: an interrupted run resumes with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.peers.runners.line import Answer


class Kept:
    """A file that grows.

    Args:
        file: need not be there.
        under: what else tells runs apart (commit, machine, frames, …), JSON values: what was
            measured under anything else doesn't count.
    """

    def __init__(self, file: Path, under: Mapping[str, Any]) -> None:
        self._file, self._under = file, dict(under)

    def of(self, row: str) -> list[Answer]:
        """The answers of a row, in order."""
        key = self._under | {"row": row}
        return [Answer(**line["answer"]) for line in self._lines() if line["key"] == key]

    def add(self, row: str, answer: Answer) -> None:
        """Write a line."""
        line = {"key": self._under | {"row": row}, "answer": asdict(answer)}
        with self._file.open("a", encoding="utf-8") as file:
            # The new line comes first: what is there may end in half of one.
            file.write("\n" + json.dumps(line))

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self._file.exists():
            return
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # the end of a run that was killed
                continue

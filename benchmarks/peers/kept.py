"""Answers that were measured, one JSON object per line: an interrupted run resumes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.json_lines import append_line, read_lines
from benchmarks.peers.runners.line import Answer


class Kept:
    """A file that grows."""

    def __init__(self, file: Path, under: Mapping[str, Any]) -> None:
        self._file, self._under = file, dict(under)

    def of(self, row: str) -> list[Answer]:
        """The answers of a row, in order."""
        key = self._under | {"row": row}
        return [Answer(**line["answer"]) for line in read_lines(self._file) if line["key"] == key]

    def add(self, row: str, answer: Answer) -> None:
        """Write a line."""
        line = {"key": self._under | {"row": row}, "answer": asdict(answer)}
        append_line(self._file, line)

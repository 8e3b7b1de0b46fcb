"""Answers that were measured, one JSON object per line, and the tables that are made of them.

An interrupted run resumes with them. Those behind the tables of docs/data are kept there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.json_lines import append_line, read_lines, replace_lines
from benchmarks.kept_tables import report
from benchmarks.peers.runners.line import Answer
from benchmarks.peers.table import page
from benchmarks.raw_answers import DATA, SUFFIX

KEPT = DATA / f"peers{SUFFIX}"


class Journal:
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


def keep_answers(
    name: str,
    under: Mapping[str, Any],
    answers: Mapping[str, Sequence[Answer]],
    failed: Mapping[str, str],
    file: Path = KEPT,
) -> None:
    """Put the answers of a table into the file, in place of what it had of that table.

    Args:
        under: what holds for all of them, as `page` takes it.
        failed: why a row has none.
    """
    head = {"under": dict(under), "failed": dict(failed)}
    rows = (
        {"row": row, "answer": asdict(answer)} for row, found in answers.items() for answer in found
    )
    replace_lines(file, name, [head, *rows])


def made_again(file: Path = KEPT) -> dict[str, str]:
    """The text of each table, by its name."""
    by_table = groupby(read_lines(file), lambda line: str(line["table"]))
    return {name: _made([*lines]) for name, lines in by_table}


def _made(lines: Sequence[Mapping[str, Any]]) -> str:
    head, *rows = lines
    answers: dict[str, list[Answer]] = {}
    for line in rows:
        answers.setdefault(line["row"], []).append(Answer(**line["answer"]))
    return page(head["under"], answers, head["failed"])


if __name__ == "__main__":
    report(__doc__, made_again)

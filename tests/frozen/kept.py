"""Reads and writes the kept files: a line for each command, of its words and its outcome.

`python -m tests.frozen --write` fills in a new line, `["ask …", null]`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.frozen import place

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Kept:
    """A file of commands and their outcomes."""

    name: str  # of the file
    outcome: Callable[[str], Any]  # what is kept of a command

    def read(self) -> dict[str, Any]:
        """What is kept, by command."""
        rows = (FOLDER / self.name).read_text(encoding="utf-8").splitlines()
        return dict(json.loads(row) for row in rows)

    def write(self) -> None:
        """Run every command, and keep its outcome."""
        rows = [json.dumps([command, self.outcome(command)]) for command in self.read()]
        (FOLDER / self.name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


FILES = (
    Kept("answers.jsonl", place.printed),
    Kept("slower_answers.jsonl", place.printed),
    Kept("failures.jsonl", place.printed),
    Kept("batch_keys.jsonl", place.keys),
    Kept("eval_keys.jsonl", place.setups),
)

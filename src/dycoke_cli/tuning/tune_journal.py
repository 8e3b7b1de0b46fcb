"""Journal of `dycoke tune`: one line per video and setting, so that a run can resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycoke_cli.answer.json_reader import from_dict
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.runs.journal import Journal
from dycoke_cli.tuning.observation import Observation

FILE = "observations.jsonl"


class TuneJournal(Journal):
    """Observations by key; see `key_of`."""

    what = "a journal of dycoke tune"
    begin = b'{"observed": "'

    def __init__(self, path: Path) -> None:
        self._held: dict[str, list[Observation]] = {}
        super().__init__(path)

    def get(self, key: str) -> list[Observation] | None:
        """Observations under a key; None if there are none."""
        return self._held.get(key)

    def add(self, key: str, observations: Sequence[Observation]) -> None:
        """Append observations to the file.

        Raises:
            OutputError: it can't be written; the file is unchanged.
        """
        line = {"observed": key, "answers": [to_dict(each) for each in observations]}
        self.write((json.dumps(line) + "\n").encode("ascii"))
        self._held[key] = list(observations)

    def take(self, line: bytes) -> None:
        """Parse a line of the file."""
        content = json.loads(line)
        self._held[content["observed"]] = [
            from_dict(Observation, each) for each in content["answers"]
        ]


def key_of(about: Mapping[str, Any]) -> str:
    """Hash of everything that observations depend on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

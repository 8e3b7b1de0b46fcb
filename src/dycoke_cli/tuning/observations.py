"""Observations of a tuning: one question under one setting, and the journal that stores them.

The journal has one line per video and setting, so that an interrupted run resumes. Nothing here
imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.answer.guarantee import Certainty
from dycoke_cli.answer.json_reader import from_dict
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.runs.journal import Journal

FILE = "observations.jsonl"


@dataclass(frozen=True)
class Observation:
    """Answer to a question under a setting, compared with the uncompressed one."""

    question: str  # text of the question
    answer: str  # the greedy answer, decoded freely (not forced to the uncompressed one)
    same: bool  # whether it has the same words as the uncompressed answer
    divergence: float  # KL(uncompressed, compressed) in nats, mean over uncompressed tokens
    certainty: Certainty  # of the greedy answer
    visual: int  # visual tokens before compression
    read: int  # visual tokens at prefill
    read_in_decode: float  # visual tokens attended per decoding step (mean over steps and layers)
    seconds: float  # prefill and decode of the greedy answer


class TuneJournal(Journal):
    """Observations by key; see `key_of`."""

    what = "a journal of dycoke tune"
    begin = b'{"observed": "'

    def __init__(self, path: Path) -> None:
        self._observations: dict[str, list[Observation]] = {}
        super().__init__(path)

    def get(self, key: str) -> list[Observation] | None:
        """Observations under a key; None if there are none."""
        return self._observations.get(key)

    def add(self, key: str, observations: Sequence[Observation]) -> None:
        """Append observations to the file."""
        line = {"observed": key, "answers": [to_dict(each) for each in observations]}
        self.write((json.dumps(line) + "\n").encode("ascii"))
        self._observations[key] = list(observations)

    def take(self, line: bytes) -> None:
        """Parse a line of the file."""
        content = json.loads(line)
        self._observations[content["observed"]] = [
            from_dict(Observation, each) for each in content["answers"]
        ]


def key_of(about: Mapping[str, Any]) -> str:
    """Hash of everything that observations depend on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

"""What was measured, one JSON object per line, so that an interrupted run resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.speed.contestants import Contestant
from benchmarks.speed.measured import Measured


@dataclass(frozen=True)
class Heat:
    """What all contestants do in turn.

    Args:
        model: its name.
        part: "whole", or "language" or "pruning" for the language model alone.
        frames: of the video.
        tokens: that are written.
        where: commit and machine: what was measured elsewhere doesn't count.
    """

    model: str
    part: str
    frames: int
    tokens: int
    where: str


class Journal:
    """A file that grows.

    Args:
        path: of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = list(self._read())

    def rounds(self, heat: Heat, contestant: Contestant) -> list[Measured]:
        """What was measured of a contestant, in order."""
        name = {**asdict(heat), "contestant": contestant.name}
        return [
            Measured(**line["measured"])
            for line in self._lines
            if all(line[key] == value for key, value in name.items())
        ]

    def add(self, heat: Heat, contestant: Contestant, measured: Measured) -> None:
        """Write a line."""
        named = {**asdict(heat), "contestant": contestant.name}
        line = {**named, "measured": asdict(measured)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._lines.append(line)

    def _read(self) -> Iterator[dict]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # the end of a run that was killed
                continue

"""What was measured, one JSON object per line, so that an interrupted run resumes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.json_lines import append_line, read_lines
from benchmarks.speed.contestants import Contestant
from benchmarks.speed.measured import Measured


@dataclass(frozen=True)
class Heat:
    """What all contestants do in turn."""

    model: str  # its name
    part: str  # "whole", or "language" or "pruning" for the language model alone
    frames: int  # of the video
    tokens: int  # that are written
    where: str  # commit and machine: what was measured elsewhere doesn't count
    dtype: str  # of the weights


class Journal:
    """A file that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = list(read_lines(self._path))

    def rounds(self, heat: Heat, contestant: Contestant) -> list[Measured]:
        """What was measured of a contestant, in order."""
        return [Measured(**line["measured"]) for line in self.lines(heat, contestant)]

    def lines(self, heat: Heat, contestant: Contestant) -> list[dict[str, Any]]:
        """The same as it is in the file."""
        name = {**asdict(heat), "contestant": contestant.name}
        return [
            line
            for line in self._lines
            if all(line.get(key) == value for key, value in name.items())
        ]

    def add(self, heat: Heat, contestant: Contestant, measured: Measured) -> None:
        """Write a line."""
        named = {**asdict(heat), "contestant": contestant.name}
        line = {**named, "measured": asdict(measured)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self._path, line)
        self._lines.append(line)

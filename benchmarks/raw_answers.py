"""The answers behind published tables: one compressed file per model and table, in `docs/data`.

A file is JSON Lines, compressed with xz. The first line is the header: what was asked, of which
model, where and by which commit, and the rows with every parameter of their method. All others are
answers, video by video. The same answers make the same bytes.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.json_lines import write_compressed
from benchmarks.page import ROOT
from dycoke_cli.errors import DycokeError
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.prediction import Prediction

DATA = ROOT / "docs" / "data"
SUFFIX = ".jsonl.xz"
BASELINE = "none"
"""The row that all others are compared with."""
_FIELDS = (
    "said", "right", "parts", "parsed", "visual", "visual_kept", "visual_active", "visual_read",
    "generated", "bytes", "seconds", "seconds_prefill", "seconds_decode",
)  # fmt: skip
"""Of a prediction, as they are named there."""


@dataclass(frozen=True)
class RawRow:
    """A row of a table."""

    spec: str  # as it was asked for
    name: str  # of the method or ablation
    parameters: Mapping[str, Any]  # all of the method's
    frames: int | None  # that the model was given; 0 is no video


@dataclass(frozen=True)
class Header:
    """What was asked, and where."""

    table: str  # the run's name
    name: str  # of the model in tables
    model: Mapping[str, Any]  # its name, revision, weights (a fingerprint), dtype and device
    benchmark: str  # whose questions these are
    edition: str  # of the benchmark
    split: Split  # of the benchmark
    frames: int | None  # of each video
    commits: tuple[str, ...]  # of this program that gave the answers
    machine: str  # that gave them
    date: str  # of the last answer, in UTC
    rows: tuple[RawRow, ...]  # the baseline among them


@dataclass(frozen=True)
class RawAnswers:
    """A table's answers."""

    header: Header  # what was asked
    answers: Mapping[str, Mapping[str, Prediction]]  # by row, then by question

    @property
    def items(self) -> list[Item]:
        """The questions, those about one video next to each other."""
        every = open_dataset(self.header.benchmark).items(self.header.split, None)
        return [item for item in every if item.id in self.answers[BASELINE]]

    def with_rows(self, other: RawAnswers) -> RawAnswers:
        """These answers, with the rows that another asking of the same questions adds."""
        header, added = self.header, other.header
        for what in ("table", "name", "benchmark", "edition", "split", "frames"):
            if getattr(header, what) != getattr(added, what):
                raise DycokeError(f"rows of another {what}, {getattr(added, what)!r}")
        for what in ("weights", "dtype"):
            if header.model[what] != added.model[what]:
                raise DycokeError(f"rows of a model with other {what}, {added.model[what]}")
        asked = [item.id for item in self.items]
        new = [row for row in added.rows if row.spec not in self.answers]
        lacks = [item for item in asked if any(item not in other.answers[r.spec] for r in new)]
        if lacks:
            raise DycokeError(f"{len(lacks)} of {len(asked)} questions aren't answered: ask again")
        machines = dict.fromkeys([*header.machine.split("; "), added.machine])
        united = replace(
            header,
            commits=tuple(sorted({*header.commits, *added.commits})),
            machine="; ".join(machines),
            date=max(header.date, added.date),
            rows=(*header.rows, *new),
        )
        of_new = {row.spec: {item: other.answers[row.spec][item] for item in asked} for row in new}
        return RawAnswers(united, {**self.answers, **of_new})

    def write(self, folder: Path) -> Path:
        """Write the file of this table into the folder of its model, and return its path."""
        path = folder / self.header.name / f"{self.header.table}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_compressed(path, self._lines())
        return path

    def _lines(self) -> Iterator[dict[str, Any]]:
        yield asdict(self.header)
        for item in self.items:
            for row in self.header.rows:
                prediction = self.answers[row.spec][item.id]
                answer = {name: _rounded(name, getattr(prediction, name)) for name in _FIELDS}
                yield {"video": item.video, "item": item.id, "row": row.spec, **answer}


def read_answers(path: Path) -> RawAnswers:
    """The answers of a file."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        header = json.loads(next(lines))
        rows = tuple(RawRow(**row) for row in header["rows"])
        answers: dict[str, dict[str, Prediction]] = {row.spec: {} for row in rows}
        for line in map(json.loads, lines):
            fields = {name: line[name] for name in _FIELDS}
            answers[line["row"]][line["item"]] = Prediction(item=line["item"], **fields)
    tuples = {"rows": rows, "commits": tuple(header["commits"])}
    return RawAnswers(Header(**header | tuples), answers)


def _rounded(name: str, value: Any) -> Any:
    """Times to a tenth of a millisecond: more of their digits are noise, and don't compress."""
    return round(value, 4) if name.startswith("seconds") and value is not None else value

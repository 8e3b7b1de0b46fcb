"""The table of an evaluation, as Python objects and as the object of `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dycoke_cli import __version__
from dycoke_cli.evaluation.changes import Change, list_changes
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.journal import Journal
from dycoke_cli.evaluation.lines import Evaluation, Line
from dycoke_cli.evaluation.rows import Row, make_row

SCHEMA = "dycoke.eval/1"


@dataclass(frozen=True)
class Report:
    """All that came of an evaluation.

    Args:
        benchmark: its name.
        edition: of the benchmark.
        split: of the benchmark.
        videos: how many.
        frames: as chosen (None with --fps); a row may have its own number.
        model: name, revision, weights (a fingerprint), dtype, device.
        commits: of this program, that the answers were made by, where known.
        journal: the file with all answers.
        rows: one a method, in the order given.
        changed: answers that differ from the uncompressed model's, row by row.
        warnings: sentences for a person.
    """

    benchmark: str
    edition: str
    split: str
    videos: int
    frames: int | None
    model: dict[str, Any]
    commits: tuple[str, ...]
    journal: str
    rows: tuple[Row, ...]
    changed: tuple[Change, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`, without the list of changes."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "commits": list(self.commits),
            "benchmark": self.benchmark,
            "edition": self.edition,
            "split": self.split,
            "videos": self.videos,
            "frames": self.frames,
            "model": self.model,
            "journal": self.journal,
            "rows": [row.to_dict() for row in self.rows],
            "warnings": list(self.warnings),
        }


def make_report(
    evaluation: Evaluation,
    lines: list[Line],
    items: list[Item],
    journal: Journal,
    noticed: Sequence[str],
) -> Report:
    """Count all answers, which the journal has to have.

    Args:
        evaluation: all that was chosen.
        lines: its rows.
        items: its questions.
        journal: with the answers.
        noticed: warnings there are already.
    """
    base = next((journal.predictions(line.setup) for line in lines if line.is_uncompressed), None)
    rows: list[Row] = []
    changed: list[Change] = []
    for line in lines:
        said = journal.predictions(line.setup)
        compared = None if line.is_uncompressed else base
        rows.append(make_row(line.spec.text, line.spec.name, line.setup, items, said, compared))
        if compared is not None:
            changed += list_changes(line.spec.text, items, said, compared)
    commits = tuple(sorted(journal.commits([line.setup for line in lines])))
    return Report(
        benchmark=evaluation.dataset.name,
        edition=evaluation.dataset.edition,
        split=evaluation.split,
        videos=len({item.video for item in items}),
        frames=evaluation.frames,
        model=lines[0].setup.model,
        commits=commits,
        journal=str(journal.path),
        rows=tuple(rows),
        changed=tuple(changed),
        warnings=(*noticed, *_warnings(rows, commits)),
    )


def _warnings(rows: list[Row], commits: tuple[str, ...]) -> list[str]:
    warnings = [
        f"{row.spec} changed none of {row.accuracy.questions} answers; make sure that it ran"
        for row in rows
        if row.changes is not None and not row.changes.changed
    ]
    if len(commits) > 1:
        warnings.append(
            f"the answers were made by several commits ({', '.join(commits)}); with a new folder "
            "as --out all of them are made by one"
        )
    return warnings

"""The table of an evaluation: the JSON object of `dycoke eval --json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.evaluation.changes import Change, list_changes
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.rows import Row, make_row
from dycoke_cli.json_schema import ABSENT, NOT_A_KEY, Absent, Doc
from dycoke_cli.result import Version
from dycoke_cli.version import __version__

if TYPE_CHECKING:
    from dycoke_cli.evaluation.journal import Journal
    from dycoke_cli.evaluation.lines import Evaluation, Line


@dataclass(frozen=True)
class EvaluatedModel:
    """The model that was asked."""

    name: str
    revision: str | None
    weights: Annotated[str, Doc("A fingerprint.")]
    dtype: str
    device: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that came of an evaluation; all fields but `changed` are keys of the JSON object.

    Args:
        changed: answers that differ from the baseline's, row by row.
    """

    schema: str = SCHEMA
    version: Version = __version__
    commits: Annotated[
        tuple[str, ...], Doc("Commits of this program that made the answers, where known.")
    ]
    benchmark: str
    edition: Annotated[str, Doc("Of the benchmark.")]
    split: Split
    videos: Annotated[int, Doc(minimum=1)]
    frames: Annotated[
        int | None,
        Doc("As chosen, null with --fps; a row may have its own number.", minimum=1),
    ]
    model: EvaluatedModel
    journal: Annotated[str, Doc("The file with all answers.")]
    rows: Annotated[tuple[Row, ...], Doc("One per method, in the order given.", minItems=1)]
    warnings: Annotated[tuple[str, ...], Doc("Sentences for a person.")]
    changes: Annotated[tuple[Change, ...] | Absent, Doc("With --show-changed.")] = ABSENT
    changed: Annotated[tuple[Change, ...], NOT_A_KEY] = ()


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
        spec, frames = line.spec, line.setup.frames
        rows.append(make_row(spec.text, spec.name, line.method, frames, items, said, compared))
        if compared is not None:
            changed += list_changes(line.spec.text, items, said, compared)
    commits = tuple(sorted(journal.commits([line.setup for line in lines])))
    return Report(
        benchmark=evaluation.dataset.name,
        edition=evaluation.dataset.edition,
        split=evaluation.split,
        videos=len({item.video for item in items}),
        frames=evaluation.frames,
        model=EvaluatedModel(**lines[0].setup.model),
        commits=commits,
        journal=str(journal.path),
        rows=tuple(rows),
        changed=tuple(changed),
        warnings=(*noticed, *_warnings(rows, commits)),
    )


def _warnings(rows: list[Row], commits: tuple[str, ...]) -> list[str]:
    warnings = [
        f"{row.spec} changed none of {row.questions} answers; make sure that it ran"
        for row in rows
        if row.changed == 0
    ]
    if len(commits) > 1:
        warnings.append(
            f"the answers were made by several commits ({', '.join(commits)}); a new folder as "
            "--out asks all questions again"
        )
    return warnings

"""The table of an evaluation: the JSON object of `dycoke eval --json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.evaluation.changes import Change, list_changes
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.metrics import Predictions
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


@dataclass(frozen=True)
class Unscored:
    """A question that counts as wrong because nothing could be scored: an entry of `unscored`."""

    spec: Annotated[str, Doc("Of the row.")]
    video: str
    item: Annotated[str, Doc("Id of the question.")]
    reason: Annotated[
        Literal["unparsable", "failed"],
        Doc("unparsable: the answer couldn't be understood; failed: there is no answer."),
    ]
    text: Annotated[str, Doc("The answer, or why there is none.")]


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
    metric: Annotated[str, Doc("What every accuracy is the mean of: accuracy, or a measure.")]
    videos: Annotated[int, Doc(minimum=1)]
    frames: Annotated[
        int | None,
        Doc("As chosen, null with --fps; a row may have its own number.", minimum=1),
    ]
    model: EvaluatedModel
    journal: Annotated[str, Doc("The file with all answers.")]
    rows: Annotated[tuple[Row, ...], Doc("One per method, in the order given.", minItems=1)]
    unscored: Annotated[
        tuple[Unscored, ...], Doc("Answers that couldn't be understood, and questions without one.")
    ]
    warnings: Annotated[tuple[str, ...], Doc("Sentences for a person.")]
    changes: Annotated[tuple[Change, ...] | Absent, Doc("With --show-changed.")] = ABSENT
    changed: Annotated[tuple[Change, ...], NOT_A_KEY] = ()


def make_report(
    evaluation: Evaluation,
    lines: list[Line],
    items: list[Item],
    journal: Journal,
    failures: Mapping[str, Predictions],
    noticed: Sequence[str],
) -> Report:
    """Count all answers, which the journal or `failures` has to have.

    Args:
        evaluation: all that was chosen.
        lines: its rows.
        items: its questions.
        journal: with the answers.
        failures: questions without an answer, by id of their setup.
        noticed: warnings there are already.
    """
    about = evaluation.dataset.about

    def predictions(line: Line) -> Predictions:
        return {**failures.get(line.setup.id, {}), **journal.predictions(line.setup)}

    base = next((predictions(line) for line in lines if line.is_uncompressed), None)
    rows: list[Row] = []
    changed: list[Change] = []
    unscored: list[Unscored] = []
    for line in lines:
        said = predictions(line)
        compared = None if line.is_uncompressed else base
        spec, frames = line.spec, line.setup.frames
        row = make_row(spec.text, spec.name, line.method, frames, items, said, compared, about)
        rows.append(row)
        unscored += _unscored(spec.text, items, said)
        if compared is not None:
            changed += list_changes(line.spec.text, items, said, compared)
    commits = tuple(sorted(journal.commits([line.setup for line in lines])))
    return Report(
        benchmark=evaluation.dataset.name,
        edition=lines[0].setup.edition,
        split=evaluation.split,
        metric=about.metric,
        videos=len({item.video for item in items}),
        frames=evaluation.frames,
        model=EvaluatedModel(**lines[0].setup.model),
        commits=commits,
        journal=str(journal.path),
        rows=tuple(rows),
        unscored=tuple(unscored),
        changed=tuple(changed),
        warnings=(*noticed, *_warnings(rows, commits)),
    )


def _unscored(spec: str, items: list[Item], said: Predictions) -> list[Unscored]:
    """The questions of a row that count as wrong without having been judged."""
    found = []
    for item in items:
        prediction = said[item.id]
        if prediction.error is not None:
            found.append(Unscored(spec, item.video, item.id, "failed", prediction.error))
        elif not prediction.parsed:
            found.append(Unscored(spec, item.video, item.id, "unparsable", prediction.said))
    return found


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

"""JSON document of `dycoke eval --json`, and its construction from scored answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import ABSENT, Absent, Doc
from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.datasets import rule_of
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import FILE as ANSWERS
from dycoke_cli.evaluation.prediction import Answers, EvaluatedModel, no_answer, rescored
from dycoke_cli.evaluation.presets import preset_warnings, published_beside
from dycoke_cli.evaluation.run_record import FILE as RECORD
from dycoke_cli.evaluation.run_record import RunRecord, read_record
from dycoke_cli.evaluation.scored_row import Change, ScoredRow, compared_by_holm, make_row
from dycoke_cli.evaluation.scoring.judge import PROMPTS, Verdict, key_of, read_verdicts
from dycoke_cli.evaluation.scoring.judge import Item as JudgedItem
from dycoke_cli.evaluation.scoring.statistics import Predictions
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__

_CHANGES = 0.1
"""Lower bound of the share of changed answers, per share of dropped tokens: it holds in every row
of docs/results.md."""
_UNLIKELY = 0.05
_MOST_WARNINGS = 5


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


@dataclass(frozen=True)
class Judge:
    """The LLM that graded the answers: the value of `judge`."""

    model: Annotated[str, Doc("As it was asked for.")]
    served: Annotated[tuple[str, ...], Doc("Models as the endpoint named them.")]
    prompt: Annotated[str, Doc("Its version.")]
    first_date: Annotated[str, Doc("Of the verdicts, in UTC.")]
    last_date: str


@dataclass(frozen=True, kw_only=True)
class EvalReport:
    """All that came of an evaluation: the JSON object of `dycoke eval --json`."""

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
    judge: Annotated[Judge | None, Doc("What graded open answers; null without one.")]
    journal: Annotated[str, Doc("The file with all answers.")]
    rows: Annotated[
        tuple[ScoredRow, ...],
        Doc("One per method, in the order given.", minItems=1),
    ]
    unscored: Annotated[
        tuple[Unscored, ...], Doc("Answers that couldn't be understood, and questions without one.")
    ]
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]
    changes: Annotated[
        tuple[Change, ...] | Absent, Doc("Answers that a method changed, in JSON.")
    ] = ABSENT


def report_of(folder: Path) -> EvalReport:
    """The report of a run again, from what `dycoke eval --out` wrote."""
    path, record = folder / ANSWERS, read_record(folder)
    try:
        if record is None or not path.is_file():
            missing = RECORD if record is None else ANSWERS
            raise UsageError(
                f"{display_name(folder)} has no {missing}: name a folder that `dycoke eval --out` "
                "wrote"
            )
        journal = Answers(path)
    except OSError as error:
        raise UsageError(f"{display_name(path)} can't be read ({error.strerror})") from error
    noticed = [*record.warnings]
    if journal.damaged:
        noticed.append(
            f"{path} has {journal.damaged} damaged line(s), which are left out: run the same "
            "`dycoke eval` again, which asks those questions"
        )
    return make_report(record, journal, noticed, read_verdicts(folder))


def answers_of(record: RunRecord, journal: Answers) -> dict[str, Predictions]:
    """Answers and failures by setup and question."""
    setups = [row.setup for row in record.rows]
    failures = record.failures
    return {one.id: {**failures.get(one.id, {}), **journal.predictions(one)} for one in setups}


def make_report(
    record: RunRecord, journal: Answers, noticed: Sequence[str], verdicts: Mapping[str, Verdict]
) -> EvalReport:
    """Score and aggregate all answers; a missing answer is incorrect."""
    items, answers = list(record.items), answers_of(record, journal)
    if (rule := rule_of(record.rows[0].setup.benchmark)) is not None:
        answers = {setup: rescored(rule, items, one) for setup, one in answers.items()}
    predictions = {
        row.setup.id: _completed(items, answers.get(row.setup.id, {})) for row in record.rows
    }
    baselines = (predictions[row.setup.id] for row in record.rows if row.spec.is_baseline)
    baseline = next(baselines, None)
    rows: list[ScoredRow] = []
    unscored: list[Unscored] = []
    judged: list[Verdict] = []
    ungraded: list[str] = []
    for one in record.rows:
        grades, of_row, missing = grades_of(record, answers.get(one.setup.id, {}), verdicts)
        if missing:
            ungraded.append(
                f"{one.spec.text}: {missing} of its answers have no verdict of {record.judge}, so "
                "that the judge's figures are left out; --judge-model has them graded"
            )
        judged += of_row if grades else []
        of_method = predictions[one.setup.id]
        row = make_row(
            one,
            items,
            of_method,
            None if one.spec.is_baseline else baseline,
            metric=record.metric,
            macro=record.macro,
            grades=grades,
            published=published_beside(one, record),
        )
        rows.append(row)
        unscored += _unscored(one, items, of_method)
    setup = record.rows[0].setup
    commits = tuple(sorted(journal.commits(row.setup for row in record.rows)))
    return EvalReport(
        benchmark=setup.benchmark,
        edition=setup.edition,
        split=setup.split,
        metric=record.metric,
        videos=len({item.video for item in items}),
        frames=record.frames,
        model=EvaluatedModel(**record.model),
        commits=commits,
        judge=judge_of(record, judged),
        journal=str(journal.path),
        rows=compared_by_holm(rows),
        unscored=tuple(unscored),
        warnings=(
            *noticed,
            *preset_warnings(record),
            *ungraded,
            *_unchanged(rows),
            *_several(commits),
            *_of_answers(record, predictions),
        ),
    )


def grades_of(
    record: RunRecord, predictions: Predictions, verdicts: Mapping[str, Verdict]
) -> tuple[dict[str, Any] | None, list[Verdict], int]:
    """What a judge found of a row, by its keys; its verdicts, and the number missing.

    Nothing is found as long as a verdict is missing.
    """
    if record.judge is None:
        return None, [], 0
    prompt = PROMPTS[record.prompt]
    keys = [key_of(one, record.judge, prompt) for one in judged(record, predictions).values()]
    of_row = [verdicts[key] for key in keys if key in verdicts]
    if len(of_row) < len(keys):
        return None, of_row, len(keys) - len(of_row)
    # Failed questions have no verdict but are in the denominator.
    questions = len(record.items)
    correct = sum(verdict.correct is True for verdict in of_row)
    return (
        {
            "judge_accuracy": correct / questions if prompt.yes_or_no else None,
            "judge_score": sum(verdict.score or 0.0 for verdict in of_row) / questions,
            "judge_failed": sum(verdict.error is not None for verdict in of_row),
        },
        of_row,
        0,
    )


def judge_of(record: RunRecord, verdicts: list[Verdict]) -> Judge | None:
    """Judge and dates of verdicts; None if there are none."""
    if record.judge is None or not verdicts:
        return None
    days = sorted(verdict.date[:10] for verdict in verdicts)
    return Judge(
        model=record.judge,
        served=tuple(sorted({verdict.model for verdict in verdicts if verdict.model})),
        prompt=PROMPTS[record.prompt].version,
        first_date=days[0],
        last_date=days[-1],
    )


def judged(record: RunRecord, predictions: Predictions) -> dict[str, JudgedItem]:
    """Answers that a judge grades, by question; failed questions have none."""
    answered = (
        (item, one)
        for item in record.items
        if (one := predictions.get(item.id)) is not None and one.error is None
    )
    return {
        item.id: JudgedItem(item.question, item.answer, answer_of(one.said))
        for item, one in answered
    }


def _completed(items: list[Item], answers: Predictions) -> Predictions:
    """Predictions of all questions; the missing ones of an interrupted run are incorrect."""
    parts = {item.kind: answers[item.id].parts for item in items if item.id in answers}
    return {
        item.id: answers.get(item.id)
        # With the parts that its type has elsewhere, so that their means count it as 0.
        or no_answer(item, parts.get(item.kind, ()), "it was not asked: the run was interrupted")
        for item in items
    }


def _unscored(row: KeptRow, items: list[Item], predictions: Predictions) -> list[Unscored]:
    """Failed questions and unparsable answers of a row."""
    unscored, spec = [], row.spec.text
    for item in items:
        prediction = predictions[item.id]
        if prediction.error is not None:
            unscored.append(Unscored(spec, item.video, item.id, "failed", prediction.error))
        elif not prediction.parsed:
            unscored.append(Unscored(spec, item.video, item.id, "unparsable", prediction.said))
    return unscored


def _unchanged(rows: list[ScoredRow]) -> list[str]:
    """Warnings about rows without a changed answer, where chance is an unlikely explanation."""
    return [
        f"{row.spec} changed none of {row.questions} answers; make sure that it ran"
        for row in rows
        if row.changed == 0 and (1 - _CHANGES * _dropped(row)) ** row.questions < _UNLIKELY
    ]


def _dropped(row: ScoredRow) -> float:
    """Share of visual tokens that a row dropped; 1 without a video, or if it isn't known."""
    kept = (row.kept_before_llm, row.kept_in_decode)
    return 1 - min((share for share in kept if share is not None), default=0.0)


def _of_answers(record: RunRecord, predictions: Mapping[str, Predictions]) -> list[str]:
    """Warnings of answers, each with the number of questions; the most frequent ones.

    Controls are skipped: they warn about frames that they leave out on purpose.
    """
    questions: dict[str, set[str]] = {}
    for row in record.rows:
        if not row.spec.is_control:
            for prediction in predictions[row.setup.id].values():
                for warning in prediction.warnings:
                    questions.setdefault(warning, set()).add(prediction.item)
    often = sorted(questions, key=lambda warning: -len(questions[warning]))
    counts = [(len(questions[warning]), warning) for warning in often[:_MOST_WARNINGS]]
    shown = [f"{n} question{'s' if n > 1 else ''}: {warning}" for n, warning in counts]
    if more := len(often) - len(shown):
        shown.append(f"answers have {more} more warning{'s' if more > 1 else ''}, in {ANSWERS}")
    return shown


def _several(commits: tuple[str, ...]) -> list[str]:
    if len(commits) < 2:
        return []
    return [
        f"the answers were made by several commits ({', '.join(commits)}); a new folder as --out "
        "asks all questions again"
    ]

"""Judging of an evaluation's answers: selection of the answers, and aggregation of grades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.evaluation.run_record import RunRecord
from dycoke_cli.evaluation.scoring.judge import (
    PROMPTS,
    JudgeClient,
    Verdict,
    judge_answers,
    key_of,
    open_verdicts,
)
from dycoke_cli.evaluation.scoring.judge import Item as Judged
from dycoke_cli.evaluation.scoring.statistics import Predictions
from dycoke_cli.runs.listener import Listener


@dataclass(frozen=True)
class Judge:
    """The LLM that graded the answers: the value of `judge`."""

    model: Annotated[str, Doc("As it was asked for.")]
    served: Annotated[tuple[str, ...], Doc("Models as the endpoint named them.")]
    prompt: Annotated[str, Doc("Its version.")]
    first_date: Annotated[str, Doc("Of the verdicts, in UTC.")]
    last_date: str


@dataclass(frozen=True)
class Grades:
    """Grades of a row, over all of its questions."""

    accuracy: float | None  # share of correct answers; None if the prompt asks for a score only
    score: float  # mean score, from 0 to 5
    failed: int  # failed verdicts, which count as incorrect with score 0


def ask_judge(
    record: RunRecord,
    answers: Mapping[str, Predictions],
    client: JudgeClient,
    folder: Path,
    listener: Listener,
) -> None:
    """Judge all answers without a verdict; each verdict is written at once."""
    setups = dict.fromkeys(row.setup.id for row in record.rows)
    items = [one for setup in setups for one in _judged(record, answers[setup]).values()]
    on_progress = partial(listener.stage, "verdicts")
    with open_verdicts(folder) as journal:
        judge_answers(items, client, PROMPTS[record.prompt], journal, on_progress=on_progress)


def grades_of(
    record: RunRecord, predictions: Predictions, verdicts: Mapping[str, Verdict]
) -> tuple[Grades | None, list[Verdict], int]:
    """Grades of a row (None if a verdict is missing), its verdicts, and the number missing."""
    if record.judge is None:
        return None, [], 0
    prompt = PROMPTS[record.prompt]
    keys = [key_of(one, record.judge, prompt) for one in _judged(record, predictions).values()]
    of_row = [verdicts[key] for key in keys if key in verdicts]
    if len(of_row) < len(keys):
        return None, of_row, len(keys) - len(of_row)
    # Failed questions have no verdict but are in the denominator; refused ones aren't.
    questions = len(record.items) - sum(one.refused for one in predictions.values())
    correct = sum(verdict.correct is True for verdict in of_row)
    return (
        Grades(
            accuracy=correct / questions if prompt.yes_or_no else None,
            score=sum(verdict.score or 0.0 for verdict in of_row) / questions,
            failed=sum(verdict.error is not None for verdict in of_row),
        ),
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


def _judged(record: RunRecord, predictions: Predictions) -> dict[str, Judged]:
    """Answers that a judge grades, by question; failed and refused questions have none."""
    answered = (
        (item, one)
        for item in record.items
        if (one := predictions.get(item.id)) is not None and one.error is None and not one.refused
    )
    return {
        item.id: Judged(item.question, item.answer, answer_of(one.said)) for item, one in answered
    }

"""A judge of the answers of an evaluation: which it grades, and what its grades come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.evaluation.run_record import RunRecord
from dycoke_cli.evaluation.scoring.judge import PROMPTS, judge_answers, key_of
from dycoke_cli.evaluation.scoring.judge import Item as Judged
from dycoke_cli.evaluation.scoring.judge_client import Client
from dycoke_cli.evaluation.scoring.statistics import Predictions
from dycoke_cli.evaluation.scoring.thinking import answer_of
from dycoke_cli.evaluation.scoring.verdicts import Verdict, open_verdicts
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
    """What a judge made of a row, over all of its questions.

    Args:
        accuracy: share of correct answers; None where the prompt doesn't ask.
        score: mean, from 0 to 5.
        failed: answers without a verdict, which count as wrong and as 0.
    """

    accuracy: float | None
    score: float
    failed: int


def ask_judge(
    record: RunRecord,
    answers: Mapping[str, Predictions],
    client: Client,
    folder: Path,
    listener: Listener,
) -> None:
    """Have all answers graded that aren't yet; verdicts are kept in a folder as they come.

    Args:
        record: what was asked.
        answers: by id of their setup.
        client: the judge.
        folder: of the run.
        listener: hears how many verdicts there are.

    Raises:
        ModelError: the endpoint is down, or refuses all; the verdicts so far are kept.
        OutputError: they can't be written.
    """
    said = {row.setup.id: answers[row.setup.id] for row in record.rows}
    items = [one for all_ in said.values() for one in _judged(record, all_).values()]
    on_progress = partial(listener.stage, "verdicts")
    with open_verdicts(folder) as journal:
        judge_answers(items, client, PROMPTS[record.prompt], journal, on_progress=on_progress)


def grades_of(
    record: RunRecord, said: Predictions, verdicts: Mapping[str, Verdict]
) -> tuple[Grades | None, list[Verdict], int]:
    """What a row was graded, None where a verdict is missing; its verdicts; how many are missing.

    Args:
        record: what was asked.
        said: the answers of a row.
        verdicts: by key.
    """
    if record.judge is None:
        return None, [], 0
    prompt = PROMPTS[record.prompt]
    keys = [key_of(one, record.judge, prompt) for one in _judged(record, said).values()]
    found = [verdicts[key] for key in keys if key in verdicts]
    if len(found) < len(keys):
        return None, found, len(keys) - len(found)
    # A question without an answer is wrong before every judge.
    questions = len(record.items) - sum(one.refused for one in said.values())
    correct = sum(verdict.correct is True for verdict in found)
    return (
        Grades(
            accuracy=correct / questions if prompt.yes_or_no else None,
            score=sum(verdict.score or 0.0 for verdict in found) / questions,
            failed=sum(verdict.error is not None for verdict in found),
        ),
        found,
        0,
    )


def judge_of(record: RunRecord, verdicts: list[Verdict]) -> Judge | None:
    """Who made these verdicts, and when; None where there are none."""
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


def _judged(record: RunRecord, said: Predictions) -> dict[str, Judged]:
    """What a judge is shown, by question; those without an answer aren't among them."""
    return {
        item.id: Judged(item.question, item.answer, answer_of(said[item.id].said))
        for item in record.items
        if item.id in said and said[item.id].error is None and not said[item.id].refused
    }

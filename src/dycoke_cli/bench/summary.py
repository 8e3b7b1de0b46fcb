"""Aggregation of timed runs into rows, and comparison of their answers with the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from statistics import fmean, median
from typing import Any

from dycoke_cli.answer.answer import Answer, Bytes
from dycoke_cli.bench.bench_report import (
    MeanTokens,
    Memory,
    QuestionAnswers,
    RowAnswer,
    Stages,
    TimedRow,
)
from dycoke_cli.bench.timed_runs import Results, TimedAnswer, VideoQuestion
from dycoke_cli.evaluation.method_row import MethodRow

_STAGES = [field.name for field in fields(Stages)]


def timed_rows(
    rows: Sequence[MethodRow], results: Results, asked: Sequence[QuestionAnswers]
) -> tuple[TimedRow, ...]:
    """Aggregate timed runs into the rows of the report.

    Args:
        rows: rows in order.
    """
    changed = {
        each.spec.text: sum(
            not given.same
            for question in asked
            for given in question.answers
            if given.spec == each.spec.text
        )
        for each in rows
    }
    return tuple(_timed(each, results[each.spec.text], changed[each.spec.text]) for each in rows)


def compare_answers(rows: Sequence[MethodRow], results: Results) -> tuple[QuestionAnswers, ...]:
    """Compare the answers to each question with the baseline's; the first run of each row counts.

    Args:
        rows: rows in order, one of which is the baseline.
    """
    base = results[next(each.spec.text for each in rows if each.spec.is_baseline)]
    return tuple(
        QuestionAnswers(
            video=about[0],
            question=about[1],
            answers=tuple(
                _row_answer(text, runs[about], base[about][0].answer)
                for text, runs in results.items()
            ),
        )
        for about in base
    )


def unstable_answers(results: Results) -> list[str]:
    """Warnings about answers that differ between two runs of one configuration."""
    return [
        f"{text} answered {about[1]!r} about {about[0]} differently in two runs; part of the "
        "changes isn't compression's"
        for text, runs in results.items()
        for about, measured in runs.items()
        if len({each.answer.answer for each in measured}) > 1
    ]


def _row_answer(text: str, runs: Sequence[TimedAnswer], base: Answer) -> RowAnswer:
    answer = runs[0].answer
    assert answer.finish_reason != "refused", "such a question isn't timed"
    return RowAnswer(
        spec=text,
        answer=answer.answer,
        same=answer.answer == base.answer,
        finish_reason=answer.finish_reason,
        generated=answer.tokens.generated,
        seconds=_stages(median, [each.seconds for each in runs]),
    )


def _timed(row: MethodRow, runs: dict[VideoQuestion, list[TimedAnswer]], changed: int) -> TimedRow:
    answers = [each.answer for measured in runs.values() for each in measured]
    # By run: the i-th runs of all questions make the i-th total, whose range is the noise.
    totals = [
        fmean(each.seconds.total for each in of_one_run)
        for of_one_run in zip(*runs.values(), strict=True)
    ]
    medians = [_stages(median, [each.seconds for each in measured]) for measured in runs.values()]
    baseline = row.spec.is_baseline
    return TimedRow(
        spec=row.spec.text,
        method=row.spec.method,
        parameters=dict(row.parameters),
        control=row.spec.is_control,
        seconds=_stages(fmean, medians),
        total_least=min(totals),
        total_most=max(totals),
        tokens=MeanTokens(
            visual=fmean(answer.tokens.visual for answer in answers),
            visual_kept=fmean(answer.tokens.visual_kept for answer in answers),
            generated=fmean(answer.tokens.generated for answer in answers),
        ),
        bytes=_memory([answer.bytes for answer in answers]),
        changed=None if baseline else changed,
        changed_share=None if baseline else changed / len(runs),
    )


def _stages(average: Callable[[list[float]], float], measured: Sequence[Stages]) -> Stages:
    """Average each stage; values that are null are left out."""
    values = {
        name: [value for each in measured if (value := getattr(each, name)) is not None]
        for name in _STAGES
    }
    averages: dict[str, Any] = {
        name: average(numbers) if numbers else None for name, numbers in values.items()
    }
    return Stages(**averages)


def _memory(of_answers: Sequence[Bytes]) -> Memory:
    return Memory(
        kv_cache=fmean(one.kv_cache for one in of_answers),
        peak_working=_highest(one.peak_working for one in of_answers),
        peak_total=_highest(one.peak_total for one in of_answers),
    )


def _highest(peaks: Iterable[int | None]) -> int | None:
    values = [*peaks]
    # The maximum over a part of the runs could be too low.
    return None if None in values else max(peak for peak in values if peak is not None)

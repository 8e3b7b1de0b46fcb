"""Aggregation of timed runs into rows, and comparison of their answers with the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from statistics import fmean, median
from typing import Any

from dycoke_cli.answer.answer import Answer, Bytes
from dycoke_cli.bench.bench_report import Asked, GivenAnswer, MeanTokens, Memory, Stages, TimedRow
from dycoke_cli.bench.timed_runs import Asking, Measured, Results
from dycoke_cli.evaluation.method_row import MethodRow
from dycoke_cli.evaluation.scoring.statistics import mean_or_none

_STAGES = [field.name for field in fields(Stages)]


def timed_rows(
    rows: Sequence[MethodRow], results: Results, asked: Sequence[Asked]
) -> tuple[TimedRow, ...]:
    """The rows with what was measured.

    Args:
        rows: in order.
        results: all runs of each.
        asked: what `compare_answers` made of them.
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


def compare_answers(rows: Sequence[MethodRow], results: Results) -> tuple[Asked, ...]:
    """All answers to each question; what counts is the text of the first run.

    Args:
        rows: in order, one of which is the baseline.
        results: all runs of each.
    """
    base = results[next(each.spec.text for each in rows if each.spec.is_baseline)]
    return tuple(
        Asked(
            video=asking[0],
            question=asking[1],
            answers=tuple(
                _given(text, runs[asking], base[asking][0].answer) for text, runs in results.items()
            ),
        )
        for asking in base
    )


def unstable(results: Results) -> list[str]:
    """Warnings about answers that differ between two runs of one configuration."""
    return [
        f"{text} answered {asking[1]!r} about {asking[0]} differently in two runs; part of the "
        "changes isn't compression's"
        for text, runs in results.items()
        for asking, measured in runs.items()
        if len({each.answer.answer for each in measured}) > 1
    ]


def _given(text: str, runs: Sequence[Measured], base: Answer) -> GivenAnswer:
    answer = runs[0].answer
    assert answer.finish_reason != "refused", "such a question isn't timed"
    return GivenAnswer(
        spec=text,
        answer=answer.answer,
        same=answer.answer == base.answer,
        finish_reason=answer.finish_reason,
        generated=answer.tokens.generated,
        seconds=_stages(median, [each.seconds for each in runs]),
    )


def _timed(row: MethodRow, runs: dict[Asking, list[Measured]], changed: int) -> TimedRow:
    answers = [each.answer for measured in runs.values() for each in measured]
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
            visual=mean_or_none([answer.tokens.visual for answer in answers]),
            visual_kept=mean_or_none([answer.tokens.visual_kept for answer in answers]),
            generated=mean_or_none([answer.tokens.generated for answer in answers]),
        ),
        bytes=_memory([answer.bytes for answer in answers]),
        changed=None if baseline else changed,
        changed_share=None if baseline else changed / len(runs),
    )


def _stages(middle: Callable[[list[float]], float], measured: Sequence[Stages]) -> Stages:
    """Each stage by itself; one that is null somewhere counts where it isn't."""
    values = {
        name: [value for each in measured if (value := getattr(each, name)) is not None]
        for name in _STAGES
    }
    known: dict[str, Any] = {
        name: middle(found) if found else None for name, found in values.items()
    }
    return Stages(**known)


def _memory(held: Sequence[Bytes | None]) -> Memory:
    known = [one for one in held if one is not None]
    if len(known) < len(held):
        return Memory(None, None, None)
    return Memory(
        kv_cache=fmean(one.kv_cache for one in known),
        peak_working=_highest(one.peak_working for one in known),
        peak_total=_highest(one.peak_total for one in known),
    )


def _highest(peaks: Iterable[int | None]) -> int | None:
    known = [*peaks]
    return None if None in known else max(peak for peak in known if peak is not None)

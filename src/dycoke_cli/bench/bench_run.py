"""Run of `dycoke bench`: measures the configurations on videos and builds the report."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from itertools import chain, product
from statistics import fmean, median
from typing import Any

from dycoke_cli.answer.answer import Answer, Seconds
from dycoke_cli.ask import Answered, Ask, Footage, Seen, Warn
from dycoke_cli.bench.bench_report import (
    BenchReport,
    MeanTokens,
    Memory,
    QuestionAnswers,
    Stages,
    TimedRow,
)
from dycoke_cli.compression.registry import Spec, parse_specs
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.evaluation.method_row import MethodRow, method_for, rows_on
from dycoke_cli.kernels.processor import environment
from dycoke_cli.loop.asker import Asker, Client
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.param import key_part
from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.quiet import faster_imports
from dycoke_cli.version import running_commit
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.sampling import Sampling

Runs = dict[tuple[str, str], list[tuple[Answer, Stages]]]
"""Answers of a row by video and question, with their times as if each were the only question; one
per run, without the warm-up."""


def measure_all(
    rows: Sequence[MethodRow],
    videos: Sequence[str],
    questions: Sequence[str],
    runs: int,
    measure: Callable[[MethodRow, str], list[tuple[Answer, Stages]]],
    on_answers: Callable[[int, int], None],
) -> dict[str, Runs]:
    """Run all configurations; results by spec of the row.

    They take turns within a video, so that a slow phase of the machine affects all of them. Each
    round begins with the next one, so that none profits from always following the same other.

    Args:
        measure: runs a configuration on a video; returns an answer per question, in order.
    """
    asked = [(video, question) for video in videos for question in questions]
    results: dict[str, Runs] = {row.spec.text: {about: [] for about in asked} for row in rows}
    done, total = 0, (runs + 1) * len(rows) * len(asked)
    on_answers(done, total)
    for round_ in range(runs + 1):
        first = round_ % len(rows)
        for video, row in product(videos, (*rows[first:], *rows[:first])):
            answers = measure(row, video)
            done += len(answers)
            on_answers(done, total)
            if round_:  # the first is the warm-up
                for question, timed in zip(questions, answers, strict=True):
                    results[row.spec.text][video, question].append(timed)
    return results


def measure(
    asker: Asker,
    row: MethodRow,
    video: str,
    questions: Sequence[str],
    request: Request,
    warn: Callable[[str], None],
) -> list[tuple[Answer, Stages]]:
    """Decode a video, and answer all questions about it.

    No cache is reused: each run decodes the video, encodes its frames and prefills every prompt.
    The questions of a run share the encoded video.
    """
    # Else the garbage of the previous run would be collected during this one.
    gc.collect()  # equivalent: time alone
    sampling = row.spec.sampled(request.sampling)
    request = replace(request.with_method(row.method), sampling=sampling or Sampling())
    shown, blind = (Footage(video, video),), sampling is None
    asks = [Ask(one, request, shown, blind=blind, measured=True) for one in questions]
    prepared_s, answers = 0.0, list[Answer]()
    try:
        pendings = asker.submit(*asks, client=Client(batch_size=1), streams=False)
        for event in chain.from_iterable(pending.events() for pending in pendings):
            if isinstance(event, Warn):
                warn(event.text)
            elif isinstance(event, Seen):
                prepared_s = event.prepared_s
            elif isinstance(event, Answered):
                answers.append(event.answer)
    except (UsageError, OutOfMemoryError) as error:
        raise type(error)(f"--methods {row.spec.text}: {error}") from error
    return [(one, _alone(one, answers[0].seconds, prepared_s)) for one in answers]


def _alone(answer: Answer, first: Seconds, preprocess: float) -> Stages:
    """Times of an answer that count in full what the questions of a run share.

    Args:
        first: seconds of the first answer of the run, for which the video was read and encoded.
        preprocess: seconds of the run.
    """
    seconds, steps = answer.seconds, answer.tokens.generated - 1
    before = first.video_decode - seconds.video_decode + preprocess + first.vision - seconds.vision
    return Stages(
        video_decode=first.video_decode,
        preprocess=preprocess,
        vision=first.vision,
        prefill=seconds.prefill,
        first_token=before + seconds.first_token,
        decode=seconds.decode,
        decode_per_token=seconds.decode / steps if steps > 0 else None,
        total=before + seconds.total,
    )


def timed_row(row: MethodRow, runs: Runs, base: Runs) -> TimedRow:
    """Aggregate the runs of a row; of each question the first answer is compared with `base`."""
    answers = [answer for measured in runs.values() for answer, _ in measured]
    # By run: the i-th runs of all questions make the i-th total, whose range is the noise.
    totals = [fmean(times.total for _, times in run) for run in zip(*runs.values(), strict=True)]
    medians = [_averages(median, [times for _, times in each]) for each in runs.values()]
    peaks = [answer.bytes.peak_total for answer in answers]
    known = [peak for peak in peaks if peak is not None]
    return TimedRow(
        spec=row.spec.text,
        method=row.spec.method,
        parameters=dict(row.parameters),
        seconds=_averages(fmean, medians),
        total_least=min(totals),
        total_most=max(totals),
        tokens=MeanTokens(
            visual=fmean(answer.tokens.visual for answer in answers),
            visual_kept=fmean(answer.tokens.visual_kept for answer in answers),
            generated=fmean(answer.tokens.generated for answer in answers),
        ),
        bytes=Memory(
            kv_cache=fmean(answer.bytes.kv_cache for answer in answers),
            # Of a part of the runs the highest could be too low.
            peak_total=max(known) if len(known) == len(peaks) else None,
        ),
        changed=None
        if row.spec.is_baseline
        else sum(_first(runs[about]) != _first(base[about]) for about in runs),
    )


def unstable_answers(results: dict[str, Runs]) -> list[str]:
    """Warnings about answers that differ between two runs of one configuration."""
    return [
        f"{spec} answered {about[1]!r} about {about[0]} differently in two runs; part of the "
        "changes isn't compression's"
        for spec, runs in results.items()
        for about, measured in runs.items()
        if len({answer.answer for answer, _ in measured}) > 1
    ]


def _first(measured: list[tuple[Answer, Stages]]) -> str:
    """Text of the first run."""
    return measured[0][0].answer


def _averages(average: Callable[[list[float]], float], measured: Sequence[Stages]) -> Stages:
    """Average each stage; values that are null are left out."""
    averages: dict[str, Any] = {}
    for name in (field.name for field in fields(Stages)):
        known = [value for each in measured if (value := getattr(each, name)) is not None]
        averages[name] = average(known) if known else None
    return Stages(**averages)


def run(
    videos: tuple[str, ...],
    questions: tuple[str, ...],
    specs: Sequence[Spec],
    request: Request,
    runs: int,
    listener: Listener,
) -> BenchReport:
    """Measure all configurations, the baseline first; it is added if it is missing."""
    if runs < 1:
        raise UsageError(f"--runs must be 1 or more, not {runs}")
    warnings: dict[str, None] = {}

    def warn(sentence: str) -> None:
        if sentence not in warnings:
            warnings[sentence] = None
            listener.warning(sentence)

    baseline = [spec for spec in specs if spec.is_baseline] or parse_specs("none")
    specs = [*baseline, *(spec for spec in specs if not spec.is_baseline)]
    unloaded = unloaded_model(request, listener.warning)
    for spec in specs:
        if unloaded.listed is not None and not spec.if_possible:
            method_for(unloaded.listed, spec)  # refused before torch is imported
    generation = request.generation
    if generation.temperature > 0 and generation.seed is None:
        # With another seed in each run, answers would change by sampling alone.
        generation = replace(generation, seed=0)
    request = replace(request, generation=generation)
    # All videos, before the model is loaded: a run of an hour shouldn't end at the last one.
    with Decoder(request.limits) as decoder:
        for video in videos:
            with decoder.open(video, request.sampling):
                pass
    with faster_imports():
        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import resolve_model

    listener.stage("load" if unloaded.local else "fetch")
    chosen = resolve_model(unloaded.source, request.loading)
    rows, left_out = rows_on(chosen, specs)
    for sentence in left_out:
        warn(sentence)
    loaded = load(chosen, on_stage=listener.stage)
    with Engine(request, loaded=loaded) as engine:
        # Scanning the objects of torch and transformers takes 0.4 s, of a run that chance chooses.
        gc.freeze()  # equivalent: time alone
        results = measure_all(
            rows,
            videos,
            questions,
            runs,
            lambda row, video: measure(engine, row, video, questions, request, warn),
            lambda done, total: listener.stage("answers", done, total),
        )
    for row in rows:
        # Controls are skipped: they warn about frames that they leave out on purpose.
        of_row = () if row.spec.is_control else results[row.spec.text].values()
        for sentence in chain.from_iterable(one[0][0].warnings for one in of_row):
            warn(sentence)
    for sentence in unstable_answers(results):
        warn(sentence)
    base = results[rows[0].spec.text]
    return BenchReport(
        commit=running_commit(),
        model=next(iter(base.values()))[0][0].model,
        environment=environment(chosen.device),
        seconds_load=loaded.seconds_load,
        runs=runs,
        videos=videos,
        questions=questions,
        sampling=asdict(request.sampling) | ({"frames": None} if request.sampling.fps else {}),
        generation={k: v for k, v in key_part(generation).items() if k != "trace"},
        rows=tuple(timed_row(row, results[row.spec.text], base) for row in rows),
        answers=tuple(
            QuestionAnswers(*about, {spec: _first(runs[about]) for spec, runs in results.items()})
            for about in base
        ),
        warnings=tuple(warnings),
    )

"""Run of `dycoke bench`: measures the configurations on videos and builds the report."""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from statistics import fmean, median
from typing import Any, TypeVar

from dycoke_cli.answer.answer import Answer, Seconds
from dycoke_cli.ask import Answered, Ask, Footage, Seen, Warn
from dycoke_cli.bench.bench_report import (
    BenchReport,
    Environment,
    MeanTokens,
    Memory,
    QuestionAnswers,
    RowAnswer,
    Stages,
    TimedRow,
)
from dycoke_cli.compression.registry import Spec, parse_specs
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.evaluation.method_row import MethodRow, bound_spec, rows_on
from dycoke_cli.loop.asker import Asker, Client
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.param import key_part
from dycoke_cli.request import Request
from dycoke_cli.resources import processor_name, usable_cpus
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.version import running_commit
from dycoke_cli.video import Decoder, Sampling

T = TypeVar("T")


@dataclass(frozen=True)
class TimedAnswer:
    """Answer with stage times, as if it were the only question about its video."""

    answer: Answer
    seconds: Stages


Runs = dict[tuple[str, str], list[TimedAnswer]]
"""Answers of a row by video and question; one per run, without the warm-up."""


def interleave(
    items: Sequence[T], videos: Sequence[str], runs: int
) -> Iterator[tuple[int, str, T]]:
    """Order of the runs: (round, video, item); round 0 is the warm-up.

    Items alternate within a video, so that a slow phase of the machine affects all of them. Each
    round begins with the next item, so that none profits from always following the same other.
    """
    for round_ in range(runs + 1):
        first = round_ % len(items)
        for video in videos:
            for item in (*items[first:], *items[:first]):
                yield round_, video, item


def measure_all(
    rows: Sequence[MethodRow],
    videos: Sequence[str],
    questions: Sequence[str],
    runs: int,
    measure: Callable[[MethodRow, str], list[TimedAnswer]],
    on_answers: Callable[[int, int], None],
) -> dict[str, Runs]:
    """Run all configurations, interleaved (see `interleave`); results by spec of the row.

    Args:
        measure: runs a configuration on a video; returns an answer per question, in order.
    """
    asked = [(video, question) for video in videos for question in questions]
    results: dict[str, Runs] = {row.spec.text: {about: [] for about in asked} for row in rows}
    done, total = 0, (runs + 1) * len(rows) * len(asked)
    on_answers(done, total)
    for round_, video, row in interleave(rows, videos, runs):
        answers = measure(row, video)
        done += len(answers)
        on_answers(done, total)
        if round_:
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
) -> list[TimedAnswer]:
    """Decode a video, and answer all questions about it.

    No cache is reused: each run decodes the video, encodes its frames and prefills every prompt.
    The questions of a run share the encoded video.

    Args:
        request: how the questions are asked; the row has its own method and frames.
    """
    # Else the garbage of the previous run would be collected during this one.
    gc.collect()
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
    return [TimedAnswer(one, _alone(one, answers[0].seconds, prepared_s)) for one in answers]


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
    answers = [each.answer for measured in runs.values() for each in measured]
    # By run: the i-th runs of all questions make the i-th total, whose range is the noise.
    totals = [fmean(one.seconds.total for one in run) for run in zip(*runs.values(), strict=True)]
    changed = None
    if not row.spec.is_baseline:
        changed = sum(not _is_same(runs[about], base[about]) for about in runs)
    return TimedRow(
        spec=row.spec.text,
        method=row.spec.method,
        parameters=dict(row.parameters),
        control=row.spec.is_control,
        seconds=_averages(fmean, [_medians(measured) for measured in runs.values()]),
        total_least=min(totals),
        total_most=max(totals),
        tokens=MeanTokens(
            visual=fmean(answer.tokens.visual for answer in answers),
            visual_kept=fmean(answer.tokens.visual_kept for answer in answers),
            generated=fmean(answer.tokens.generated for answer in answers),
        ),
        bytes=Memory(
            kv_cache=fmean(answer.bytes.kv_cache for answer in answers),
            peak_working=_highest(answer.bytes.peak_working for answer in answers),
            peak_total=_highest(answer.bytes.peak_total for answer in answers),
        ),
        changed=changed,
        changed_share=None if changed is None else changed / len(runs),
    )


def compare_answers(results: dict[str, Runs], base: Runs) -> tuple[QuestionAnswers, ...]:
    """Compare the answers to each question with the baseline's, each of the first run."""
    return tuple(
        QuestionAnswers(
            video=about[0],
            question=about[1],
            answers=tuple(
                RowAnswer(
                    spec=spec,
                    answer=runs[about][0].answer.answer,
                    same=_is_same(runs[about], base[about]),
                    finish_reason=runs[about][0].answer.finish_reason,
                    generated=runs[about][0].answer.tokens.generated,
                    seconds=_medians(runs[about]),
                )
                for spec, runs in results.items()
            ),
        )
        for about in base
    )


def unstable_answers(results: dict[str, Runs]) -> list[str]:
    """Warnings about answers that differ between two runs of one configuration."""
    return [
        f"{spec} answered {about[1]!r} about {about[0]} differently in two runs; part of the "
        "changes isn't compression's"
        for spec, runs in results.items()
        for about, measured in runs.items()
        if len({each.answer.answer for each in measured}) > 1
    ]


def _is_same(one: Sequence[TimedAnswer], base: Sequence[TimedAnswer]) -> bool:
    return one[0].answer.answer == base[0].answer.answer


def _medians(measured: Sequence[TimedAnswer]) -> Stages:
    return _averages(median, [each.seconds for each in measured])


def _averages(average: Callable[[list[float]], float], measured: Sequence[Stages]) -> Stages:
    """Average each stage; values that are null are left out."""
    averages: dict[str, Any] = {}
    for name in (field.name for field in fields(Stages)):
        known = [value for each in measured if (value := getattr(each, name)) is not None]
        averages[name] = average(known) if known else None
    return Stages(**averages)


def _highest(peaks: Iterable[int | None]) -> int | None:
    """The maximum; of a part of the runs it could be too low."""
    values = [*peaks]
    return None if None in values else max(peak for peak in values if peak is not None)


def run(
    videos: tuple[str, ...],
    questions: tuple[str, ...],
    specs: Sequence[Spec],
    request: Request,
    runs: int,
    listener: Listener,
) -> BenchReport:
    """Measure all configurations on all videos and questions.

    Args:
        videos: paths.
        specs: the rows; the baseline comes first, and is added if it is missing.
        request: options of the answers; each row has its own method.
        runs: number of counted runs.
    """
    if runs < 1:
        raise UsageError(f"--runs must be 1 or more, not {runs}")
    warnings: dict[str, None] = {}

    def warn(sentence: str) -> None:
        if sentence not in warnings:
            warnings[sentence] = None
            listener.warning(sentence)

    base = [spec for spec in specs if spec.is_baseline] or parse_specs("none")
    specs = [*base, *(spec for spec in specs if not spec.is_baseline)]
    unloaded = unloaded_model(request, listener.warning)
    generation = request.generation
    if generation.temperature > 0 and generation.seed is None:
        # With another seed in each run, answers would change by sampling alone.
        generation = replace(generation, seed=0)
    request = replace(request, generation=generation)
    # All videos, before the model is loaded: a run of an hour shouldn't end at the last one.
    with Decoder(request.limits) as decoder:
        for video in videos:
            with decoder.open(video, request.sampling, fitted=True):
                pass
    for spec in specs:  # and the methods, before torch is imported
        if unloaded.listed is not None and not spec.if_possible:
            bound_spec(spec, unloaded.listed)
    with faster_imports():
        import torch
        import transformers

        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import resolve_model

    listener.stage("load" if unloaded.local else "fetch")
    chosen = resolve_model(unloaded.source, request.loading)
    rows, left_out = rows_on(chosen, specs)
    for sentence in left_out:
        warn(sentence)
    loaded = load(chosen, on_stage=listener.stage)
    with Engine(request, loaded=loaded) as engine, _frozen_garbage():
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
        for sentence in chain.from_iterable(one[0].answer.warnings for one in of_row):
            warn(sentence)
    for sentence in unstable_answers(results):
        warn(sentence)
    uncompressed = results[rows[0].spec.text]
    on_cuda = chosen.device.type == "cuda"
    return BenchReport(
        commit=running_commit(),
        model=next(iter(uncompressed.values()))[0].answer.model,
        environment=Environment(
            python=platform.python_version(),
            torch=torch.__version__,
            transformers=transformers.__version__,
            processor=processor_name(),
            cores=usable_cpus(),
            threads=torch.get_num_threads(),
            accelerator=torch.cuda.get_device_name(chosen.device) if on_cuda else None,
        ),
        seconds_load=loaded.seconds_load,
        runs=runs,
        videos=videos,
        questions=questions,
        sampling=asdict(request.sampling) | ({"frames": None} if request.sampling.fps else {}),
        generation={k: v for k, v in key_part(generation).items() if k != "trace"},
        rows=tuple(timed_row(row, results[row.spec.text], uncompressed) for row in rows),
        answers=compare_answers(results, uncompressed),
        warnings=tuple(warnings),
    )


@contextmanager
def _frozen_garbage() -> Iterator[None]:
    """Exclude existing objects from garbage collection within the block.

    Scanning those of torch and transformers takes 0.4 s, which would be added to a random run.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

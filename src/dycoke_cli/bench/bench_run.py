"""Run of `dycoke bench`: measures the configurations on videos and builds the report."""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import chain
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, TypeVar

from dycoke_cli.answer.answer import Answer, Bytes, Seconds
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
from dycoke_cli.loop.unloaded_model import UnloadedModel, unloaded_model
from dycoke_cli.models.files.on_disk import listening
from dycoke_cli.param import key_part
from dycoke_cli.request import Request
from dycoke_cli.resources import processor_name, usable_cpus
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.version import running_commit
from dycoke_cli.video import Decoder, Sampling

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel


# Interleaved, timed runs of configurations; a run is one video with its questions.
#
# No cache is reused between runs: each decodes the video, encodes its frames and prefills every
# prompt. The questions of a run share the encoded video.


T = TypeVar("T")


@dataclass(frozen=True)
class TimedAnswer:
    """Answer with stage times, as if it were the only question about its video."""

    answer: Answer
    seconds: Stages


VideoQuestion = tuple[str, str]
"""Path of a video, and a question about it."""
Results = dict[str, dict[VideoQuestion, list[TimedAnswer]]]
"""Answers by spec of the row, then by video and question; one per run, without the warm-up."""


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
) -> Results:
    """Run all configurations, interleaved; see `interleave`.

    Args:
        measure: runs a configuration on a video; returns an answer per question, in order.
    """
    results: Results = {
        each.spec.text: {(video, question): [] for video in videos for question in questions}
        for each in rows
    }
    total = (runs + 1) * len(rows) * len(videos) * len(questions)
    done = 0
    on_answers(done, total)
    for round_, video, row in interleave(rows, videos, runs):
        answers = measure(row, video)
        done += len(answers)
        on_answers(done, total)
        if round_:
            for question, timed in zip(questions, answers, strict=True):
                results[row.spec.text][video, question].append(timed)
    return results


class Timer:
    """Timed runs on an engine.

    Args:
        request: how the questions are asked; each row has its own method and frames.
        warn: receives warnings.
    """

    def __init__(
        self,
        asker: Asker,
        questions: Sequence[str],
        request: Request,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._asker, self._questions = asker, questions
        self._request, self._warn = request, warn

    def run(self, row: MethodRow, video: str) -> list[TimedAnswer]:
        """Decode a video, and answer all questions about it."""
        # Else the garbage of the previous run would be collected during this one.
        gc.collect()
        sampling = row.spec.sampled(self._request.sampling)
        request = replace(self._request.with_method(row.method), sampling=sampling or Sampling())
        shown, blind = (Footage(video, video),), sampling is None
        asks = [Ask(one, request, shown, blind=blind, measured=True) for one in self._questions]
        with name_row_in_errors(row.spec.text):
            pendings = self._asker.submit(*asks, client=Client(batch_size=1), streams=False)
            prepared_s, answers = 0.0, list[Answer]()
            for event in chain.from_iterable(pending.events() for pending in pendings):
                if isinstance(event, Warn):
                    self._warn(event.text)
                elif isinstance(event, Seen):
                    prepared_s = event.prepared_s
                elif isinstance(event, Answered):
                    answers.append(event.answer)
        first = answers[0].seconds
        return [count_shared_stages(one, first, prepared_s) for one in answers]


def count_shared_stages(answer: Answer, first: Seconds, preprocess: float) -> TimedAnswer:
    """Count the stages that questions of a run share in full for one answer.

    Args:
        first: seconds of the first answer of the run, for which the video was read and encoded.
        preprocess: seconds of the run.
    """
    seconds, video_decode, vision = answer.seconds, first.video_decode, first.vision
    before = video_decode - seconds.video_decode + preprocess + vision - seconds.vision
    steps = answer.tokens.generated - 1
    return TimedAnswer(
        answer,
        Stages(
            video_decode=video_decode,
            preprocess=preprocess,
            vision=vision,
            prefill=seconds.prefill,
            first_token=before + seconds.first_token,
            decode=seconds.decode,
            decode_per_token=seconds.decode / steps if steps > 0 else None,
            total=before + seconds.total,
        ),
    )


@contextmanager
def name_row_in_errors(row: str) -> Iterator[None]:
    """Prefix errors within the block with the row of --methods."""
    try:
        yield
    except (UsageError, OutOfMemoryError) as error:
        raise type(error)(f"--methods {row}: {error}") from error


# Aggregation of timed runs into rows, and comparison of their answers with the baseline's.


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


@dataclass(frozen=True)
class Benchmark:
    """Options of a benchmark."""

    videos: tuple[str, ...]  # paths
    questions: tuple[str, ...]  # questions about each video
    specs: tuple[Spec, ...]  # the rows; the baseline is added if it is missing
    request: Request  # options of the answers; its method is ignored, since each row has its own
    runs: int = 3  # number of counted runs

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise UsageError(f"--runs must be 1 or more, not {self.runs}")

    @property
    def rows(self) -> list[Spec]:
        """The baseline, then the others in their order."""
        base = [spec for spec in self.specs if spec.is_baseline] or parse_specs("none")
        return [*base, *(spec for spec in self.specs if not spec.is_baseline)]

    def check_videos(self) -> None:
        """Check that the videos can be read."""
        with Decoder(self.request.limits) as decoder:
            for video in self.videos:
                with decoder.open(video, self.request.sampling, fitted=True):
                    pass

    def check_model(self, known: UnloadedModel) -> None:
        """Check the model without importing torch."""
        if known.traits is not None:
            for spec in self.rows:
                if not spec.if_possible:
                    bound_spec(spec, known.traits)


def run(benchmark: Benchmark, listener: Listener) -> BenchReport:
    """Measure all configurations on all videos and questions."""
    request = benchmark.request
    unloaded = unloaded_model(request, listener.warning)
    sampling = listening(request.sampling, unloaded.source, request.loading)
    generation = request.generation
    if generation.temperature > 0 and generation.seed is None:
        # With another seed in each run, answers would change by sampling alone.
        generation = replace(generation, seed=0)
    request = replace(request, sampling=sampling, generation=generation)
    benchmark = replace(benchmark, request=request)
    # All videos, before the model is loaded: a run of an hour shouldn't end at the last one.
    benchmark.check_videos()
    warnings = _Warnings(listener)
    benchmark.check_model(unloaded)
    # Imported late: they import torch and transformers.
    with faster_imports():
        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import resolve_model

    listener.stage("load" if unloaded.local else "fetch")
    chosen = resolve_model(unloaded.source, request.loading)
    rows, left_out = rows_on(chosen, benchmark.rows)
    for sentence in left_out:
        warnings.add(sentence)
    loaded = load(chosen, on_stage=listener.stage)
    with Engine(request, loaded=loaded) as engine, _frozen_garbage():
        results = measure_all(
            rows,
            benchmark.videos,
            benchmark.questions,
            benchmark.runs,
            Timer(engine, benchmark.questions, request, warnings.add).run,
            partial(listener.stage, "answers"),
        )
    for sentence in _answer_warnings(rows, results):
        warnings.add(sentence)
    answers = compare_answers(rows, results)
    first = next(iter(next(iter(results.values())).values()))[0]
    return BenchReport(
        commit=running_commit(),
        model=first.answer.model,
        environment=_environment(chosen),
        seconds_load=loaded.seconds_load,
        runs=benchmark.runs,
        videos=benchmark.videos,
        questions=benchmark.questions,
        sampling=asdict(request.sampling) | ({"frames": None} if request.sampling.fps else {}),
        generation={k: v for k, v in key_part(generation).items() if k != "trace"},
        rows=timed_rows(rows, results, answers),
        answers=answers,
        warnings=tuple(warnings.sentences),
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


class _Warnings:
    """Warnings without duplicates.

    Attributes:
        sentences: warnings so far.
    """

    def __init__(self, listener: Listener) -> None:
        self.sentences: list[str] = []
        self._listener = listener

    def add(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)
            self._listener.warning(sentence)


def _answer_warnings(rows: Iterable[MethodRow], results: Results) -> Iterator[str]:
    """Warnings of the answers, and about answers that differ between runs.

    Controls are skipped: they warn about frames that they leave out on purpose.
    """
    for row in rows:
        if not row.spec.is_control:
            for measured in results[row.spec.text].values():
                yield from measured[0].answer.warnings
    yield from unstable_answers(results)


def _environment(chosen: ResolvedModel) -> Environment:
    import torch
    import transformers

    device = chosen.device
    return Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        processor=processor_name(),
        cores=usable_cpus(),
        threads=torch.get_num_threads(),
        accelerator=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    )

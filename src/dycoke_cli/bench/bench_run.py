"""Run of `dycoke bench`: measures the configurations on videos and builds the report."""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dycoke_cli.bench.bench_report import SHARED, BenchReport, Environment
from dycoke_cli.bench.recommendation import Basis, recommend
from dycoke_cli.bench.remote_runs import RemoteTimer
from dycoke_cli.bench.summary import compare_answers, timed_rows, unstable
from dycoke_cli.bench.timed_runs import Measured, Results, Timer, measure_all
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.method_row import MethodRow, rows_on
from dycoke_cli.evaluation.method_specs import Spec, parse_specs
from dycoke_cli.models.families import domain
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.request import Request
from dycoke_cli.resources import processor_name, usable_cpus
from dycoke_cli.runs.conversation import unloaded_model
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.stock.importing import uncollected
from dycoke_cli.version import running_commit
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel


@dataclass(frozen=True)
class Benchmark:
    """All that is chosen for a benchmark.

    Args:
        videos: paths.
        questions: asked about each video.
        specs: the rows; the baseline is measured whether it is one of them or not.
        request: how questions are asked; each row has a method of its own.
        runs: that are counted.
        served: the model on a server; None loads one here.

    Raises:
        UsageError: a value out of range.
    """

    videos: tuple[str, ...]
    questions: tuple[str, ...]
    specs: tuple[Spec, ...]
    request: Request
    runs: int = 3
    served: ServedModel | None = None

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise UsageError(f"--runs must be 1 or more, not {self.runs}")

    @property
    def rows(self) -> list[Spec]:
        """The baseline, then the others in their order."""
        base = [spec for spec in self.specs if spec.is_baseline] or parse_specs("none")
        return [*base, *(spec for spec in self.specs if not spec.is_baseline)]

    def check_videos(self, decoder: Decoder) -> None:
        """Check that the videos can be read.

        Raises:
            VideoError: one can't.
            UsageError: the sampling doesn't fit one.
        """
        for video in self.videos:
            with decoder.open(video, self.request.sampling):
                pass

    def check_model(self, listener: Listener) -> bool:
        """Check all that can be known without torch; whether no model has to be fetched.

        Raises:
            ModelError: there is no such model, or it isn't here and the hub can't be reached.
            OutputError: it has to be downloaded, and there is no room for it.
            UsageError: a parameter doesn't fit the model.
        """
        known = unloaded_model(self.request, listener.warning)
        if known.traits is not None:
            for spec in self.rows:
                if not spec.if_possible:
                    spec.bound(known.traits)
        return known.local


def run(benchmark: Benchmark, listener: Listener) -> BenchReport:
    """Measure all configurations on all videos and questions.

    Raises:
        UsageError: a combination that isn't supported, or a question that the model can't
            understand.
        VideoError: a video can't be read.
        ModelError: the model can't be loaded.
        OutOfMemoryError: with the flag that helps.
    """
    with Decoder(benchmark.request.limits) as decoder:
        return _run(benchmark, listener, decoder)


def _run(benchmark: Benchmark, listener: Listener, decoder: Decoder) -> BenchReport:
    request = benchmark.request
    if benchmark.served is None:
        heard = listening(request.sampling, request.model, request.loading)
        request = replace(request, sampling=heard)
        benchmark = replace(benchmark, request=request)
    benchmark.check_videos(decoder)
    generation = request.generation
    if generation.temperature > 0 and generation.seed is None:
        # Else each run would draw anew, and answers would change by that alone.
        generation = replace(generation, seed=0)
    told = _Warnings(request, listener)
    prepare = _on_a_server if benchmark.served is not None else _here
    ready = prepare(benchmark, generation, listener, decoder, told)
    rows = ready.rows
    with _out_of_the_collectors_way():
        results = measure_all(
            rows,
            benchmark.videos,
            benchmark.questions,
            benchmark.runs,
            ready.measure,
            partial(listener.stage, "answers"),
        )
    for sentence in _warnings_of(rows, results):
        told.add(sentence)
    asked = compare_answers(rows, results)
    timed = timed_rows(rows, results, asked)
    basis = Basis(
        videos=len(benchmark.videos),
        questions=len(asked),
        runs=benchmark.runs,
        sampled=generation.temperature > 0,
        domain=ready.domain,
        random_weights=request.loading.random_weights,
        served=benchmark.served is not None,
    )
    first = next(iter(next(iter(results.values())).values()))[0]
    return BenchReport(
        commit=running_commit(),
        model=first.answer.model,
        environment=ready.environment,
        runs=benchmark.runs,
        videos=benchmark.videos,
        questions=benchmark.questions,
        sampling=asdict(request.sampling) | ({"frames": None} if request.sampling.fps else {}),
        generation={k: v for k, v in asdict(generation).items() if k != "trace"},
        shared=ready.shared,
        rows=timed,
        answers=asked,
        recommendation=recommend(timed, basis),
        warnings=tuple(told.sentences),
    )


@dataclass(frozen=True)
class _Ready:
    """What answers.

    Args:
        rows: of the table.
        measure: makes a run.
        domain: see `Basis`.
        environment: None of a server.
        shared: stages that the questions of a run share.
    """

    rows: list[MethodRow]
    measure: Callable[[MethodRow, str], list[Measured]]
    domain: str | None = None
    environment: Environment | None = None
    shared: tuple[str, ...] = SHARED


def _here(
    benchmark: Benchmark,
    generation: GenerationOptions,
    listener: Listener,
    decoder: Decoder,
    told: _Warnings,
) -> _Ready:
    """Load the model."""
    local = benchmark.check_model(listener)
    # Only here: they import torch and transformers, which takes a while.
    with uncollected():
        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import choose

    listener.stage("load" if local else "fetch")
    request = benchmark.request
    chosen = choose(request.model, request.loading)
    rows, left_out = rows_on(chosen, benchmark.rows)
    for sentence in left_out:
        told.add(sentence)
    loaded = load(request.model, **asdict(request.loading))
    timer = Timer(loaded, decoder.read, benchmark.questions, request.sampling, generation, told.add)
    return _Ready(rows, timer.run, domain(chosen.config), _environment(chosen))


def _on_a_server(
    benchmark: Benchmark,
    generation: GenerationOptions,
    listener: Listener,
    decoder: Decoder,
    told: _Warnings,
) -> _Ready:
    """Find out which rows the server has."""
    assert benchmark.served is not None
    rows, left_out = rows_on(benchmark.served, benchmark.rows)
    for sentence in left_out:
        told.add(sentence)
    sampling = benchmark.request.sampling
    timer = RemoteTimer(benchmark.served, decoder.read, benchmark.questions, sampling, generation)
    return _Ready(rows, timer.run, shared=("video_decode",))


@contextmanager
def _out_of_the_collectors_way() -> Iterator[None]:
    """Within the block, garbage collection passes over all objects that are there already.

    Those of torch and transformers take it 0.4 s, which would be part of whichever run it hit.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Warnings:
    """Warnings in terms of the flags that were given, each told once.

    Attributes:
        sentences: so far.
    """

    def __init__(self, request: Request, listener: Listener) -> None:
        self.sentences: list[str] = []
        self._request = request
        self._listener = listener

    def add(self, sentence: str) -> None:
        sentence = self._request.advise(sentence)
        if sentence not in self.sentences:
            self.sentences.append(sentence)
            self._listener.warning(sentence)


def _warnings_of(rows: Iterable[MethodRow], results: Results) -> Iterator[str]:
    """Those of the answers, and of answers that differ from run to run.

    Not those of controls, about the frames that they aren't shown.
    """
    for row in rows:
        if not row.spec.is_control:
            for measured in results[row.spec.text].values():
                yield from measured[0].answer.warnings
    yield from unstable(results)


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

"""Run of `dycoke bench`: measures the configurations on videos and builds the report."""

from __future__ import annotations

import gc
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dycoke_cli.bench.bench_report import BenchReport, Environment
from dycoke_cli.bench.summary import compare_answers, timed_rows, unstable_answers
from dycoke_cli.bench.timed_runs import Results, Timer, measure_all
from dycoke_cli.compression.method_specs import Spec, parse_specs
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.method_row import MethodRow, bound_spec, rows_on
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.unloaded_model import UnloadedModel, unloaded_model
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.param import key_part
from dycoke_cli.request import Request
from dycoke_cli.resources import processor_name, usable_cpus
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.version import running_commit
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel


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

    def check_model(self, listener: Listener) -> UnloadedModel:
        """Find and check the model without importing torch."""
        known = unloaded_model(self.request, listener.warning)
        if known.traits is not None:
            for spec in self.rows:
                if not spec.if_possible:
                    bound_spec(spec, known.traits)
        return known


def run(benchmark: Benchmark, listener: Listener) -> BenchReport:
    """Measure all configurations on all videos and questions."""
    request = benchmark.request
    sampling = listening(request.sampling, request.model, request.loading)
    generation = request.generation
    if generation.temperature > 0 and generation.seed is None:
        # With another seed in each run, answers would change by sampling alone.
        generation = replace(generation, seed=0)
    request = replace(request, sampling=sampling, generation=generation)
    benchmark = replace(benchmark, request=request)
    # All videos, before the model is loaded: a run of an hour shouldn't end at the last one.
    benchmark.check_videos()
    warnings = _Warnings(request, listener)
    unloaded = benchmark.check_model(listener)
    # Imported late: they import torch and transformers.
    with faster_imports():
        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import choose

    listener.stage("load" if unloaded.local else "fetch")
    chosen = choose(unloaded.source, request.loading)
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
    """Warnings without duplicates, worded for the user's flags.

    Attributes:
        sentences: warnings so far.
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

"""`dycoke eval`: compares methods on a benchmark; `eval report` prints its tables again."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.commands.bench import complete_presets
from dycoke_cli.cli.flags import asker_flags, request_flags, shared_flags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.cli.render.view import View
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.evaluation.datasets import DATASETS, open_dataset
from dycoke_cli.stock.quiet import faster_imports, silence_libraries

if TYPE_CHECKING:
    from dycoke_cli.evaluation.dataset import Dataset
    from dycoke_cli.evaluation.scoring.judge import OpenAIClient


_FLAGS = shared_flags.flag_table(
    f"""
    NAME: The benchmark: {", ".join(DATASETS)}; or a file of your own questions (.jsonl, .csv).
    RUN: A folder that `dycoke eval --out` wrote.
    [Benchmark]
    --list: List the benchmarks (how large each is, what it needs, where it is published), and the
        presets. Excludes --json.
    --preset NAME: The settings of a published row: model, methods with their parameters, frames,
        prompts, length of answers. Other flags override them. The report has the published figures
        beside the measured ones, and names all conditions that differ. --list names the presets.
    --data DIR: Folder with the benchmark's annotations and videos, at any depth; of all but shapes
        and shapes-long, which are bundled. Of your own questions the folder with the videos;
        default: theirs.
    --split NAME: validation, to choose parameters; or test, to report results. Default: test, or
        the only one.
    --limit N: Only the first N videos (they are in random order).
    [Judge (open answers)]
    --judge-model NAME: Also have the answers graded by an LLM, such as gpt-4o-2024-11-20; for
        activitynetqa and video_dc499. The key is taken from OPENAI_API_KEY.
    --judge-url URL: An OpenAI-compatible endpoint that serves it, such as http://localhost:8000/v1.
        Default: OpenAI's. Needs --judge-model.
    [Output]
    --out FOLDER: Folder of the answers, from which the next run resumes. Default: a folder in your
        cache.
    --csv: Print CSV, a line per row. Excludes --json.
    """,
    {
        "NAME": {"autocompletion": lambda incomplete: [(name, "") for name in DATASETS]},
        "--preset": {"autocompletion": complete_presets},
    },
)
BRIEF = """
    --list --data --preset --methods --retain --model --frames --split --limit --batch-size
    --workers --device --max-tokens --judge-model --out --json --quiet
"""


@dataclass(frozen=True)
class JudgeFlags:
    """Flags of the LLM judge."""

    judge_model: Annotated[str | None, _FLAGS["--judge-model"]] = None
    judge_url: Annotated[str | None, _FLAGS["--judge-url"]] = None

    def client(self, dataset: Dataset) -> OpenAIClient | None:
        """Client of the chosen judge; None without one."""
        if self.judge_model is None:
            return None
        if not dataset.about.judge:
            raise UsageError(
                f"--judge-model is for open answers, and {dataset.name} has none: leave it out"
            )
        from dycoke_cli.evaluation.scoring.judge import KEY, OpenAIClient

        client = OpenAIClient(self.judge_model, self.judge_url)
        # A local endpoint needs no key; OpenAI's does, and would fail only after the run.
        if self.judge_url is None and not (
            os.environ.get(KEY) or os.environ.get("OPENAI_BASE_URL")
        ):
            raise UsageError(
                f"--judge-model {self.judge_model} needs a key: set {KEY}, or name an endpoint of "
                "your own with --judge-url"
            )
        return client


@spread
def evaluate(
    *,
    context: typer.Context,
    name: Annotated[str | None, _FLAGS["NAME"]] = None,
    list_all: Annotated[bool, _FLAGS["--list"]] = False,
    data: Annotated[Path | None, _FLAGS["--data"]] = None,
    preset: Annotated[str | None, _FLAGS["--preset"]] = None,
    methods: request_flags.Methods = "none,dycoke",
    retain: request_flags.Budgets = None,
    how: request_flags.CappedAsking,
    split: Annotated[Literal["validation", "test"] | None, _FLAGS["--split"]] = None,
    limit: Annotated[int | None, _FLAGS["--limit"]] = None,
    batch_size: asker_flags.BatchSize = "1",
    cache: shared_flags.Cache = False,
    engine: asker_flags.EngineFlags,
    server: asker_flags.BusyServerFlags,
    judge: JudgeFlags,
    out: Annotated[Path | None, _FLAGS["--out"]] = None,
    as_json: shared_flags.Json = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Compare methods on a benchmark.

    Examples:
        dycoke eval shapes --methods none,dycoke,evs:retain=0.25 --limit 20
        dycoke eval videomme --data VideoMME --preset table-1-7b --limit 100
        dycoke eval questions.jsonl --data VIDEOS --methods none,dycoke

    Answers are kept as they come: the same command again resumes where this one was interrupted.
    """
    # Imported late: help and completion need the flags alone.
    from dycoke_cli.evaluation.presets import preset_named
    from dycoke_cli.evaluation.run_record import check_folder
    from dycoke_cli.loop.in_windows import check_windows

    with contextlib.ExitStack() as stack:
        waiting = [{"benchmark": name} if name is not None else {}]
        stack.enter_context(output.failures_as_json(as_json, SCHEMA, waiting))
        if list_all:
            from dycoke_cli.cli.commands.eval_output import benchmarks

            render.to_stdout(benchmarks())
            return
        if name is None:
            raise UsageError("name a benchmark (`dycoke eval --list` shows them)")
        chosen = None if preset is None else preset_named(preset)
        if chosen is not None:
            chosen.for_benchmark(name)  # reports a wrong benchmark
        if out is not None:
            check_folder(out)
        dataset = open_dataset(name, data)
        engine.check()
        together = asker_flags.batch_size(batch_size)
        request = how.request()
        if chosen is not None:
            given = shared_flags.given(context)
            chosen.prepare(dataset)
            request = chosen.applied(request, name, given)
            methods = methods if "methods" in given else chosen.methods
        specs = parse_specs(methods, retain)
        with speaking_of_flags():
            for spec in specs:
                check_windows(replace(request, method=spec.create()))
        client = judge.client(dataset)
        remote = server.chosen(context, request, how.model, rows=True)
        served, answers = None, engine.chosen()
        if remote is not None:
            by_method = [spec.create() for spec in specs]
            served, answers = asker_flags.served(remote, by_method)
            request = replace(request, model=served.name)
        view = stack.enter_context(View(quiet))
        # From here on torch is imported, which takes seconds.
        view.stage("start")
        engine.start()
        with faster_imports():
            from dycoke_cli.cli.commands.eval_output import write_report
            from dycoke_cli.evaluation.eval_request import Evaluation
            from dycoke_cli.evaluation.eval_run import evaluate as run

        evaluation = Evaluation(
            dataset=dataset,
            specs=specs,
            request=request,
            split=split or dataset.about.splits[0],
            limit_videos=limit,
            out=out,
            workers=engine.workers,
            batch_size=together,
            cache=cache,
            engine=answers,
            served=served,
            judge=client,
            preset=preset or "",
        )
        silence_libraries()
        try:
            report = run(evaluation, view)
        except (KeyboardInterrupt, SystemExit, DycokeError):  # by SIGTERM, too
            if view.ready:
                view.note("Answers so far are kept; the same command resumes.")
            raise
        view.stop()
        write_report(report, as_json=as_json)


def report(
    *,
    run: Annotated[Path, _FLAGS["RUN"]],
    csv: Annotated[bool, _FLAGS["--csv"]] = False,
    as_json: shared_flags.Json = False,
    quiet: shared_flags.Quiet = False,
) -> None:
    """Print the tables of a finished run again, without a model.

    Examples:
        dycoke eval report run
        dycoke eval report run --csv
    """
    with output.failures_as_json(as_json, SCHEMA, [{}]):
        from dycoke_cli.cli.commands.eval_output import write_report
        from dycoke_cli.evaluation.evaluation_report import report_of

        again = report_of(run)
        for sentence in () if quiet else again.warnings:
            render.warning(sentence)
        write_report(again, as_json=as_json, as_csv=csv)

"""`dycoke eval`: compares methods on a benchmark; `eval report` prints the tables of runs again."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dycoke_cli.cli import output, pages, render
from dycoke_cli.cli.commands.bench import complete_presets
from dycoke_cli.cli.flags import engine_flags, options, request_flags
from dycoke_cli.cli.flags.engine_flags import REQUESTS, Requests, ServerFlags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.cli.render.view import View
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.errors import DycokeError, OutputError, UsageError
from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.evaluation.datasets import DATASETS, open_dataset, rule_of
from dycoke_cli.extras import how_to_install
from dycoke_cli.stock.importing import faster_imports

if TYPE_CHECKING:
    from dycoke_cli.evaluation.dataset import Dataset
    from dycoke_cli.evaluation.scoring.judge import OpenAIClient


def _complete_benchmarks(incomplete: str) -> options.Names:
    return [(name, "") for name in DATASETS]


_RULE = (
    "How answers are scored: dycoke, which reads letters as a person does; or lmms-eval, to "
    "compare figures with that harness, of the benchmarks that it scores without a judge."
)
_FLAGS = options.flag_table(
    f"""
    NAME: The benchmark: {", ".join(DATASETS)}; or a file of your own questions (.jsonl, .csv).
    RUN…: Folders that `dycoke eval --out` wrote, of one run, of several, or of its shards; or
        sample logs of lmms-eval, the baseline's first.
    [Benchmark]
    --list: List the benchmarks (how large each is, what it needs, where it is published), and the
        presets.
    --preset NAME: The settings of a published row: model, methods with their parameters, frames,
        prompts, length of answers. Other flags override them. The report has the published figures
        beside the measured ones, and names all conditions that differ. --list names the presets.
    --data DIR: Folder with the benchmark's annotations and videos, at any depth; of all but shapes
        and shapes-long, which are bundled. Of your own questions the folder with the videos;
        default: theirs.
    --check: Only check the files: all annotations, and the first and last frame of every video. No
        model is loaded.
    --split NAME: validation, to choose parameters; or test, to report results. Default: test, or
        the only one.
    --limit N: Only the first N videos (they are in random order).
    --rule NAME: {_RULE}
    --by NAME: How multiple choice is answered: letters, by generated answers; or probability, which
        asks for the options' probabilities as well and shows both, and their calibration.
    --shard I/N: Only shard I of N of the videos; `dycoke eval report` merges the shards' folders.
    [Judge (open answers)]
    --judge-model NAME: Also have the answers graded by an LLM, such as gpt-4o-2024-11-20; for
        activitynetqa and video_dc499. The key is taken from OPENAI_API_KEY.
    --judge-url URL: An OpenAI-compatible endpoint that serves it, such as http://localhost:8000/v1.
        Default: OpenAI's.
    [Output]
    --out FOLDER: Folder of the answers, from which the next run resumes. Default: a folder in your
        cache.
    --show-changed: List every prediction that a method changed, beside the baseline's.
    --csv: Print CSV, a line per row.
    --plot FILE.png|FILE.svg: Also draw accuracy over retention, with standard errors: a line for
        each method, a panel for each model (needs the package matplotlib).
    """,
    {
        "NAME": {"autocompletion": _complete_benchmarks},
        "--preset": {"autocompletion": complete_presets},
    },
)
_OF_RUNS = options.flag_table(f"""
    [Benchmark]
    --rule NAME: {_RULE} Nothing is asked again. Default: the rule of the runs.
""")
Rule = Literal["dycoke", "lmms-eval"]
BRIEF = """
    --list --data --check --preset --methods --retain --model --frames --split --limit --batch-size
    --workers --device --max-new-tokens --judge-model --out --json --quiet
"""


@dataclass(frozen=True)
class JudgeFlags:
    """Flags of the LLM judge."""

    judge_model: Annotated[str | None, _FLAGS["--judge-model"]] = None
    judge_url: Annotated[str | None, _FLAGS["--judge-url"]] = None

    def client(self, dataset: Dataset) -> OpenAIClient | None:
        """Client of the chosen judge; None without one."""
        if self.judge_model is None:
            if self.judge_url is not None:
                raise UsageError("--judge-url needs the name of a model there: --judge-model NAME")
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
    check: Annotated[bool, _FLAGS["--check"]] = False,
    preset: Annotated[str | None, _FLAGS["--preset"]] = None,
    methods: request_flags.Methods = "none,dycoke",
    retain: request_flags.Budgets = None,
    model: request_flags.ModelFlag,
    sampling: request_flags.Frames,
    budget: request_flags.Budget,
    split: Annotated[Literal["validation", "test"] | None, _FLAGS["--split"]] = None,
    limit: Annotated[int | None, _FLAGS["--limit"]] = None,
    rule: Annotated[Rule, _FLAGS["--rule"]] = "dycoke",
    by: Annotated[Literal["letters", "probability"], _FLAGS["--by"]] = "letters",
    shard: Annotated[str | None, _FLAGS["--shard"]] = None,
    batch_size: engine_flags.BatchSize = "1",
    limits: request_flags.Limiting,
    loading: request_flags.Loading,
    cache: options.Cache = False,
    generation: request_flags.Generation,
    engine: engine_flags.EngineFlags,
    server: ServerFlags,
    requests: Requests = REQUESTS,
    judge: JudgeFlags,
    out: Annotated[Path | None, _FLAGS["--out"]] = None,
    show_changed: Annotated[bool, _FLAGS["--show-changed"]] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
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
    from dycoke_cli.evaluation.eval_request import parse_shard
    from dycoke_cli.evaluation.presets import preset_named
    from dycoke_cli.evaluation.run_record import check_folder
    from dycoke_cli.loop.in_windows import check_windows

    with contextlib.ExitStack() as stack:
        form = "-list" if list_all else "-check" if check else ""
        waiting = [{"benchmark": name} if name is not None and not list_all else {}]
        schema = SCHEMA.replace("/", f"{form}/")
        stack.enter_context(output.failures_as_json(as_json, schema, waiting))
        if list_all:
            from dycoke_cli.cli.commands.benchmarks import list_benchmarks

            list_benchmarks(as_json)
            return
        if name is None:
            raise UsageError("name a benchmark (`dycoke eval --list` shows them)")
        chosen = None if preset is None else preset_named(preset)
        if chosen is not None:
            chosen.for_benchmark(name)  # reports a wrong benchmark before the check takes minutes
        if check:
            from dycoke_cli.cli.commands.benchmarks import check_benchmark

            parse_specs(methods, retain)
            dataset = open_dataset(name, data)
            check_benchmark(dataset, split, limit, limits, as_json, quiet)
            return
        if out is not None:
            check_folder(out)
        dataset = open_dataset(name, data)
        rule_of(dataset.name, rule)  # raises before torch is imported, which takes seconds
        engine.check()
        server.check(context)
        together = engine_flags.batch_size(batch_size)
        request = request_flags.request(model, loading, sampling, generation, limits, budget=budget)
        if chosen is not None:
            given = options.given(context)
            chosen.prepare(dataset)
            request = chosen.applied(request, name, given)
            methods = methods if "methods" in given else chosen.methods
        specs = parse_specs(methods, retain)
        with speaking_of_flags():
            for spec in specs:
                check_windows(replace(request, method=spec.create()))
        client = judge.client(dataset)
        remote, served, answers = server.chosen(context, budget=budget), None, engine.chosen()
        if remote is not None:
            from dycoke_cli.runs.remote.remote_asker import RemoteAsker

            found = served = remote.connected(model.model, [spec.create() for spec in specs])
            request = replace(request, model=served.name)
            answers = lambda plan, _: RemoteAsker(found, plan.request)  # noqa: E731
        part = None if shard is None else parse_shard(shard)
        view = stack.enter_context(View(quiet))
        # From here on torch is imported, which takes seconds.
        view.stage("start")
        engine.start()
        with faster_imports():
            from dycoke_cli.cli.commands.eval_output import write_report
            from dycoke_cli.evaluation.eval_request import Evaluation
            from dycoke_cli.evaluation.eval_run import evaluate as run
            from dycoke_cli.stock.quiet import silence_libraries

        evaluation = Evaluation(
            dataset=dataset,
            specs=specs,
            request=request,
            split=split or dataset.about.splits[0],
            limit_videos=limit,
            shard=part,
            out=out,
            workers=engine.workers,
            batch_size=together,
            cache=cache,
            engine=answers,
            served=served,
            judge=client,
            rule=rule,
            preset=preset or "",
            by_probability=by == "probability",
        )
        silence_libraries()
        try:
            report = run(evaluation, view)
        except (KeyboardInterrupt, SystemExit, DycokeError):  # by SIGTERM, too
            if view.ready:
                view.note("Answers so far are kept; the same command resumes.")
            raise
        view.stop()
        write_report(report, show_changed, as_json=as_json)


def report(
    *,
    runs: Annotated[list[Path], _FLAGS["RUN…"]],
    csv: Annotated[bool, _FLAGS["--csv"]] = False,
    plot: Annotated[Path | None, _FLAGS["--plot"]] = None,
    rule: Annotated[Rule | None, _OF_RUNS["--rule"]] = None,
    show_changed: Annotated[bool, _FLAGS["--show-changed"]] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the tables of finished runs again, without a model.

    Examples:
        dycoke eval report first --show-changed
        dycoke eval report small large --plot accuracy.svg
        dycoke eval report none/*_videomme.jsonl dycoke/*_videomme.jsonl

    Several runs of one benchmark under the same conditions are combined, of one model or several.
    If two of them answer the same question, the newer answer counts.
    """
    with output.failures_as_json(as_json, SCHEMA, [{}]):
        for flag, given in (("--json", as_json), ("--show-changed", show_changed)):
            if csv and given:
                raise UsageError(f"{flag} and --csv exclude each other; use one of them")
        if plot is not None:
            output.check_picture(plot, (".png", ".svg"))
            if find_spec("matplotlib") is None:
                raise UsageError(f"--plot needs the package matplotlib: {how_to_install('plot')}")
        from dycoke_cli.cli.commands.eval_output import write_report
        from dycoke_cli.evaluation.report.combine import report_of

        combined = report_of(runs, rule)
        for sentence in () if quiet else combined.warnings:
            render.warning(sentence)
        written = True
        if plot is not None:
            # Imported late: matplotlib is slow to import.
            from dycoke_cli.cli.commands.eval_plot import accuracy_figure, figure_bytes, undrawn

            written = output.write_picture(plot, figure_bytes(accuracy_figure(combined), plot))
            for sentence in () if quiet else undrawn(combined):
                render.warning(sentence)
        write_report(combined, show_changed, as_json=as_json, as_csv=csv)
        if not written:
            raise typer.Exit(OutputError.exit_code)

"""`dycoke eval`: compares methods on a benchmark, with standard errors."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Annotated

import typer

from dycoke_cli.cli import output, pages
from dycoke_cli.cli.flags import (
    engine_flags,
    eval_flags,
    judge_flags,
    method_flags,
    options,
    request_flags,
)
from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.cli.flags.server_flags import REQUESTS, Requests, ServerFlags
from dycoke_cli.cli.flags.spread import spread
from dycoke_cli.cli.render.view import View
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.evaluation.datasets import DATASETS, open_dataset, rule_of
from dycoke_cli.stock.importing import faster_imports

_FLAGS = flag_table(
    f"""
    NAME: The benchmark: {", ".join(DATASETS)}; or a file of your own questions (.jsonl, .csv).
    """,
    {"NAME": {"autocompletion": eval_flags.complete_benchmarks}},
)
BRIEF = """
    --list --data --check --preset --methods --retain --model --frames --split --limit --batch-size
    --workers --device --max-new-tokens --judge-model --out --json --quiet
"""


@spread
def evaluate(
    *,
    context: typer.Context,
    name: Annotated[str | None, _FLAGS["NAME"]] = None,
    list_all: eval_flags.ListBenchmarks = False,
    data: eval_flags.Data = None,
    check: eval_flags.Check = False,
    preset: eval_flags.PresetName = None,
    methods: method_flags.Methods = "none,dycoke",
    retain: method_flags.Budgets = None,
    model: request_flags.ModelFlag,
    sampling: request_flags.Frames,
    budget: request_flags.Budget,
    split: eval_flags.SplitName = None,
    limit: eval_flags.Limit = None,
    rule: eval_flags.RuleName = "dycoke",
    by: eval_flags.By = "letters",
    shard: eval_flags.ShardName = None,
    batch_size: engine_flags.BatchSize = "1",
    limits: request_flags.Limiting,
    loading: request_flags.Loading,
    cache: options.Cache = False,
    generation: request_flags.Generation,
    engine: engine_flags.EngineFlags,
    server: ServerFlags,
    requests: Requests = REQUESTS,
    judge: judge_flags.JudgeFlags,
    out: eval_flags.Out = None,
    show_changed: eval_flags.ShowChanged = False,
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
        if as_json:
            stack.enter_context(_failures_as_json(name, list_all, check))
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
        remote, served, answers = server.chosen(context, budget=budget), None, engine.other()
        if remote is not None:
            from dycoke_cli.runs.remote.remote_asker import RemoteRun

            served = remote.connected(model.model, [spec.create() for spec in specs])
            request, answers = replace(request, model=served.name), RemoteRun(served)
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


def _failures_as_json(
    name: str | None, list_all: bool, check: bool
) -> contextlib.AbstractContextManager[None]:
    if list_all:
        from dycoke_cli.cli.commands.benchmarks import SCHEMA as LIST_SCHEMA

        return output.failures_as_json(LIST_SCHEMA, [{}])
    schema = f"{SCHEMA.partition('/')[0]}-check/1" if check else SCHEMA
    return output.failures_as_json(schema, [{} if name is None else {"benchmark": name}])

"""`dycoke eval`: methods compared on a benchmark, with standard errors."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from dycoke_cli.cli import (
    engine_flags,
    flags,
    judge_flags,
    method_flags,
    options,
    output,
    pages,
    render,
)
from dycoke_cli.cli.benchmarks import SCHEMA as LIST_SCHEMA
from dycoke_cli.cli.benchmarks import check_benchmark, list_benchmarks
from dycoke_cli.cli.spread import spread
from dycoke_cli.cli.text import one_line, shown
from dycoke_cli.cli.view import View
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.evaluation.dataset import OWN_RULE
from dycoke_cli.evaluation.datasets import open_dataset, rule_of
from dycoke_cli.evaluation.presets import preset_named
from dycoke_cli.evaluation.record import check_folder
from dycoke_cli.evaluation.report import row_name
from dycoke_cli.evaluation.shard import parse_shard
from dycoke_cli.evaluation.specs import parse_specs
from dycoke_cli.json_schema import to_dict

if TYPE_CHECKING:
    from dycoke_cli.evaluation.report import Change, Report

UNSCORED = 20
"""How many of them the text lists; JSON has all."""
BRIEF = """
    --list --data --check --preset --methods --retain --model --frames --split --limit --shard
    --batch-size --workers --device --quantize --max-new-tokens --judge-model --out --show-changed
    --json --quiet
"""


@spread
def evaluate(
    *,
    context: typer.Context,
    name: options.Benchmark = None,
    list_all: options.ListBenchmarks = False,
    data: options.Data = None,
    check: options.Check = False,
    preset: options.PresetName = None,
    methods: method_flags.Methods = "none,dycoke",
    retain: method_flags.Budgets = None,
    model: flags.Model,
    sampling: flags.Frames,
    split: options.SplitName = None,
    limit: options.Limit = None,
    rule: options.RuleName = "dycoke",
    shard: options.ShardName = None,
    batch_size: engine_flags.BatchSize = "1",
    loading: flags.Loading,
    cache: options.Cache = False,
    generation: flags.Generation,
    engine: engine_flags.EngineFlags,
    judge: judge_flags.JudgeFlags,
    out: options.Out = None,
    show_changed: options.ShowChanged = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Compare methods on a benchmark.

    Examples:
        dycoke eval shapes --methods none,dycoke:merge_ratio=0.5,fastv --limit 20
        dycoke eval videomme --data VideoMME --preset paper-7b-k0.7 --limit 100
        dycoke eval questions.jsonl --data VIDEOS --methods none,dycoke

    Answers are kept as they come: the same command again resumes where this one was interrupted.
    """
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(_failures_as_json(name, list_all, check))
        if list_all:
            list_benchmarks(as_json)
            return
        if name is None:
            raise UsageError("name a benchmark (`dycoke eval --list` shows them)")
        chosen = None if preset is None else preset_named(preset)
        if chosen is not None:
            chosen.for_benchmark(name)
        if check:
            check_benchmark(name, data, split, limit, as_json, quiet)
            return
        if out is not None:
            check_folder(out)
        dataset = open_dataset(name, data)
        rule_of(dataset.name, rule)
        engine.check()
        together = engine_flags.batch_size(batch_size)
        request = flags.request(model, loading, sampling, generation)
        if chosen is not None:
            given = _given(context)
            chosen.prepare(dataset)
            request = chosen.applied(request, name, given)
            methods = methods if "methods" in given else chosen.methods
        specs = parse_specs(methods, retain)
        client = judge.client(dataset)
        part = None if shard is None else parse_shard(shard)
        view = stack.enter_context(View(quiet))
        # From here on torch is imported, which takes seconds.
        view.stage("start")
        from dycoke_cli.evaluation.lines import Evaluation
        from dycoke_cli.evaluation.runner import evaluate as run
        from dycoke_cli.models.quiet import silence_libraries

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
            engine=None if engine.engine == "local" else engine.chosen(),
            judge=client,
            rule=rule,
            preset=preset or "",
        )
        silence_libraries()
        try:
            report = run(evaluation, view)
        except KeyboardInterrupt:
            if view.ready:
                view.note("Answers so far are kept; the same command resumes.")
            raise
        view.stop()
        write_report(report, as_json, show_changed)


def _given(context: typer.Context) -> set[str]:
    """The names of the parameters that somebody gave, be it with the value of the default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}


def write_report(report: Report, as_json: bool, show_changed: bool) -> None:
    """Write the tables to stdout.

    Args:
        report: all of it.
        as_json: as an object.
        show_changed: with every prediction that a method changed.

    Raises:
        typer.Exit: with code 1, where questions have no answer.
    """
    if as_json:
        listed = replace(report, changes=report.changed) if show_changed else report
        output.write_json(to_dict(listed))
    else:
        render.evaluation_tables(report)
        write_unscored(report)
        if show_changed:
            write_changes(report)
    if any(row.failed for row in report.rows):
        raise typer.Exit(1)


def _failures_as_json(
    name: str | None, list_all: bool, check: bool
) -> contextlib.AbstractContextManager[None]:
    if list_all:
        return output.failures_as_json(LIST_SCHEMA, [{}])
    schema = f"{SCHEMA.partition('/')[0]}-check/1" if check else SCHEMA
    return output.failures_as_json(schema, [{} if name is None else {"benchmark": name}])


def write_unscored(report: Report) -> None:
    """Write what couldn't be scored to stdout, the first of it."""
    if not report.unscored:
        return
    wrong = "Counted as wrong, for nothing could be scored"
    other = "Not understood, or not answered"
    output.write(f"\n{wrong if report.rule == OWN_RULE else other}:\n")
    # What failed may be mended.
    for one in sorted(report.unscored, key=lambda one: one.reason != "failed")[:UNSCORED]:
        name = row_name(one.spec, one.model, report.model is None)
        output.line(
            f"{name}: {one.item} (video {one.video}), {one.reason}: {one.text or '(empty)'}"
        )
    if len(report.unscored) > UNSCORED:
        output.line(f"… and {len(report.unscored) - UNSCORED} more: --json lists them all")


def write_changes(report: Report) -> None:
    """Write all of them to stdout, row by row."""
    for row in report.rows:
        if row.changed is None:
            continue
        of = f"{row.changed} of {row.questions} answers"
        counts = f": {row.fixed} wrong→right, {row.broken} right→wrong"
        name = row_name(row.spec, row.model, report.model is None)
        output.write(f"\n{one_line(name)} changed {of}{'' if row.fixed is None else counts}\n")
        for change in report.changed:
            if (change.model, change.spec) == (row.model, row.spec):
                output.write(_entry(change))


_OUTCOMES = {
    "fixed": "wrong→right",
    "broken": "right→wrong",
    "still right": "correct in both",
    "still wrong": "wrong in both",
    "graded": "graded, not judged",
}
"""By their keys in JSON."""


def _entry(change: Change) -> str:
    question = shown(change.question).replace("\n", "\n                ")
    return (
        f"\n  {one_line(change.item)} (video {one_line(change.video)}, {one_line(change.kind)}): "
        f"{_OUTCOMES[change.outcome]}\n"
        f"    question    {question}\n"
        f"    reference   {one_line(change.answer)}\n"
        f"    baseline    {one_line(change.uncompressed)}\n"
        f"    compressed  {one_line(change.said)}\n"
    )

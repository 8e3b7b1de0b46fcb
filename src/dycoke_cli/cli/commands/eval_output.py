"""Output of an evaluation's report: its tables, JSON or CSV; and the list of benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli import output, render
from dycoke_cli.cli.render.figures import (
    Column,
    as_text,
    named,
    per_cent,
    points,
    score,
    table,
    texts,
)
from dycoke_cli.cli.render.units import count, counted, seconds, size
from dycoke_cli.evaluation.datasets import DATASETS, class_of, plugin_of, tasks_of
from dycoke_cli.evaluation.evaluation_report import EvalReport, Judge
from dycoke_cli.evaluation.presets import presets
from dycoke_cli.evaluation.scored_row import ScoredRow
from dycoke_cli.runs.tables import csv_of
from dycoke_cli.unicode import one_line, to_json

UNSCORED = 20
"""Number of unscored questions that the text format lists; JSON has all."""
_GROUPS = ("by_type", "by_label", "by_part")


def write_report(report: EvalReport, *, as_json: bool = False, as_csv: bool = False) -> None:
    """Write a report to stdout; JSON has the changed answers as well."""
    if as_json:
        changes = tuple(change for row in report.rows for change in row.changes)
        output.write_json(to_dict(replace(report, changes=changes)))
    elif as_csv:
        output.write(_comma_separated(report))
    else:
        render.to_stdout(evaluation(report))
        _write_unscored(report)
    if any(row.failed for row in report.rows):
        raise typer.Exit(1)


def _write_unscored(report: EvalReport) -> None:
    """Write the first unscored questions to stdout."""
    if not report.unscored:
        return
    output.write("\nCounted as wrong, for nothing could be scored:\n")
    # Failures first: the user may be able to fix them.
    for one in sorted(report.unscored, key=lambda one: one.reason != "failed")[:UNSCORED]:
        output.line(
            f"{one.spec}: {one.item} (video {one.video}), {one.reason}: {one.text or '(empty)'}"
        )
    if len(report.unscored) > UNSCORED:
        output.line(f"… and {len(report.unscored) - UNSCORED} more: --json lists them all")


def _comma_separated(report: EvalReport) -> str:
    """CSV with a line per row: keys of the JSON object, and a column per group of questions."""
    lines = [_values(row) for row in report.rows]
    made_by = {
        "benchmark": report.benchmark, "edition": report.edition, "split": report.split,
        "model": report.model.name,
    }  # fmt: skip
    if report.judge is not None:
        made_by |= {"judge": report.judge.model, "judge_date": report.judge.last_date}
    columns = dict.fromkeys([*made_by, *(name for line in lines for name in line)])
    return csv_of([(name,) for name in columns], [{**made_by, **line} for line in lines]).decode()


def _values(row: ScoredRow) -> Mapping[str, Any]:
    values = to_dict(row)
    groups = {name: values.pop(name) for name in _GROUPS}
    values["parameters"] = to_json(values["parameters"])
    if (published := values.pop("published")) is not None:
        values |= {f"published.{name}": value for name, value in published.pop("figures").items()}
        published["differs"] = to_json(published["differs"])
        values |= {f"published.{name}": value for name, value in published.items()}
    return values | {
        f"{group}.{name}": mean["accuracy"]
        for group, means in groups.items()
        for name, mean in means.items()
    }


def evaluation(report: EvalReport) -> Group:
    """All tables of a report: accuracy overall, published figures, accuracy by group, costs."""
    rows = report.rows
    return Group(
        Text(_title(report), style="bold"),
        Text(),
        _overall(report),
        Text(),
        *(part for each in _published(rows) for part in (each, Text())),
        _by_group(rows),
        Text(),
        _by_row(report, _COSTS, _COSTS_CAPTION),
        Text(),
        Text(_origin(report), style="dim"),
    )


_METRICS = {"accuracy": "Accuracy", "rouge_l_f1": "ROUGE-L F1"}
_METHOD = Column("Method", lambda row: row.spec, as_text)
_COMPARED = (
    Column("Difference", lambda row: _difference(row)),
    Column("Changed", lambda row: row.changed),
    Column("Wrong→right", lambda row: row.fixed),
    Column("Right→wrong", lambda row: row.broken),
)
_COUNTS = (
    Column("Unparsable", lambda row: row.unparsable),
    Column("Failed", lambda row: row.failed),
)
"""Columns that are omitted where all rows have 0."""
_COSTS = (
    Column("Prefill", lambda row: row.kept_before_llm, per_cent),
    Column("Decode", lambda row: row.kept_in_decode, per_cent),
    Column("Pruned", lambda row: row.kept_in_pruned_layers, per_cent),
    Column("Time", lambda row: row.seconds, seconds),
    Column("KV cache", lambda row: row.bytes, size),
    Column("Parameters", lambda row: _parameters(row), as_text),
)
_COSTS_CAPTION = (
    "Visual tokens retained at prefill, and at decode (mean over layers and steps; pruned: in the "
    "pruned layers alone). Time and KV cache: mean per answer. Where --methods sets no prune_layer "
    "(the paper's L), it is the model's own."
)
_LEVEL = 0.05
_MEASURES = {"accuracy": "accuracy, %", "judge_accuracy": "judge, %", "judge_score": "judge score"}


def _overall(report: EvalReport) -> Table:
    rows = report.rows
    heading = f"{_METRICS.get(report.metric, report.metric)}, %"
    columns = [Column(heading, lambda of: f"{points(of.accuracy)} ± {points(of.plus_minus)}")]
    macro = judge = ""
    if any(row.macro_accuracy is not None for row in rows):
        macro = " Macro: mean of the types."
        columns.append(Column("Macro, %", lambda row: row.macro_accuracy, points))
    if report.judge is not None:
        judge = _judge(report.judge)
        if any(row.judge_accuracy is not None for row in rows):
            columns.append(Column("Judge, %", lambda row: row.judge_accuracy, points))
        columns.append(Column("Judge score", lambda row: row.judge_score, score))
        if any(row.judge_failed for row in rows):
            columns.append(Column("Judge failed", lambda row: row.judge_failed))
    columns += _COMPARED
    columns += [column for column in _COUNTS if any(map(column.value, rows))]
    return _by_row(
        report,
        (_METHOD, *columns),
        "± one standard error, clustered by video, widened by Student's t below 30 videos; it "
        "covers the questions, not the model's training. Difference: points from the baseline "
        f"(none), on the same questions.{_apart(rows)}{macro}{judge}",
    )


def _by_row(report: EvalReport, columns: Sequence[Column], caption: str) -> Table:
    """Table with one numbered line per row of the report."""
    return table(report.rows, columns, caption, numbers=range(1, len(report.rows) + 1))


def _apart(rows: Sequence[ScoredRow]) -> str:
    """Sentence about the rows that differ from the baseline; empty without p-values."""
    compared = {n: row.difference_p_holm for n, row in enumerate(rows, 1)}
    known = {number: p for number, p in compared.items() if p is not None}
    if not known:
        return ""
    apart = ", ".join(f"#{number}" for number, p in known.items() if p < _LEVEL) or "no row"
    several = f" by Holm's procedure over {len(known)} comparisons" if len(known) > 1 else ""
    return f" Different from it at the 5 % level{several} (Student's t): {apart}."


def _by_group(rows: Sequence[ScoredRow]) -> Table:
    """Table with a line per group, and a column per row of the report."""
    of_rows = [Column(f"#{number}", str) for number in range(1, len(rows) + 1)]
    made = table((), (Column("%", str, as_text), Column("Questions", str), *of_rows))
    for groups in (
        [row.by_type for row in rows],
        [row.by_label for row in rows],
        [row.by_part for row in rows],
    ):
        for kind in dict.fromkeys(kind for group in groups for kind in group):
            means = [group.get(kind) for group in groups]
            accuracies = [points(mean.accuracy if mean else None) for mean in means]
            questions = next(mean for mean in means if mean).questions
            made.add_row(Text(one_line(kind)), count(questions), *accuracies)
        made.add_section()
    return made


def _title(report: EvalReport) -> str:
    frames = "as many frames as --fps takes" if report.frames is None else f"{report.frames} frames"
    return one_line(
        f"{report.benchmark}, {report.split} split: {counted(report.rows[0].questions, 'question')}"
        f" about {counted(report.videos, 'video')}, {frames}, model {report.model.name}"
    )


def _parameters(row: ScoredRow) -> str:
    frames = {} if row.frames is None else {"frames": row.frames}
    parameters = {name: value for name, value in row.parameters.items() if value is not None}
    values = {**frames, **parameters}
    words = {n: str(v).lower() if isinstance(v, bool) else v for n, v in values.items()}
    return one_line(" ".join(f"{name}={word}" for name, word in words.items()))


def _origin(report: EvalReport) -> str:
    model, commits = report.model, report.commits
    made_by = f"dycoke {report.version}" + (f", commit {', '.join(commits)}" if commits else "")
    asked = "on a server"
    if model.weights is not None:
        asked = f"{model.dtype} on {model.device}, weights {model.weights[:19]}"
    return one_line(
        f"Benchmark version {report.edition}; {asked}; {made_by}; answers in {report.journal}"
    )


def _judge(judge: Judge) -> str:
    """Sentence about the judge, with dates, since hosted models change over time."""
    served = [name for name in judge.served if name != judge.model]
    names = f"{judge.model} (served as {', '.join(served)})" if served else judge.model
    days = " to ".join(dict.fromkeys((judge.first_date, judge.last_date)))
    return one_line(f" Judge: {names}, prompt {judge.prompt}, {days}; score from 0 to 5.")


def _difference(row: ScoredRow) -> str:
    if row.difference is None:
        return "–"
    return f"{100 * row.difference:+.1f} ± {points(row.difference_plus_minus)}"


def _published(rows: Sequence[ScoredRow]) -> list[Table]:
    """Tables of published figures and of differing conditions; empty without published figures."""
    with_figures = [(str(n), row, row.published) for n, row in enumerate(rows, 1) if row.published]
    if not with_figures:
        return []
    figures: list[tuple[str, ...]] = []
    numbers: dict[tuple[str, str, str], list[str]] = {}
    for number, row, source in with_figures:
        for measure, value in source.figures.items():
            measured = _measured(row, measure), _shown(measure, value)
            figures.append((number, source.row, _MEASURES[measure], *measured))
        if source.tflops is not None:
            here = "–" if row.flops is None else f"{row.flops / 1e12:.1f}"
            there = f"{source.tflops:.1f}"
            figures.append((number, source.row, "paper FLOPs, 10¹²", here, there))
        for name, (ours, published) in source.differs.items():
            numbers.setdefault((name, ours, published), []).append(number)
    conditions = [
        (name, "all" if len(of) == len(rows) else ", ".join(f"#{n}" for n in of), here, published)
        for (name, here, published), of in numbers.items()
    ]
    papers = ", ".join(dict.fromkeys(source.paper for _, _, source in with_figures))
    caption = (
        f"Published: by {papers}, under other conditions (below); it isn't a result of this run."
    )
    return [
        texts(figures, ("#", "Published row", "Measure", "Measured here", "Published"), caption),
        texts(conditions, ("Condition that differs", "Rows", "Here", "Published")),
    ]


def _measured(row: ScoredRow, measure: str) -> str:
    value = getattr(row, measure)
    if value is None:
        return "–"
    error = f" ± {points(row.standard_error)}" if measure == "accuracy" else ""
    return _shown(measure, value) + error


def _shown(measure: str, value: float) -> str:
    return score(value) if measure == "judge_score" else points(value)


def benchmarks() -> Table:
    """Table of benchmarks and presets, with names in the first column."""
    rows = {name: [*_lines(name)] for name in DATASETS}
    for one in presets().values():
        how = f"--model {one.model} --frames {one.frames} --methods {one.methods}"
        rows[one.name] = [f"Preset of {one.paper}: {how}"]
    return named((name, "\n".join([*lines, ""])) for name, lines in rows.items())


def _lines(name: str) -> Iterator[str]:
    about = class_of(name).about
    large = "" if about.bytes is None else f", about {size(about.bytes)}"
    yield about.title
    yield (
        f"{count(about.questions)} questions about {count(about.videos)} videos{large}; "
        f"{' and '.join(about.splits)} split; metric: {about.metric}"
    )
    if about.needs:
        yield f"Needs --data with {about.needs}."
    if tasks := tasks_of(name):
        yield f"Tasks by themselves: {', '.join(f'{name}_{task}' for task in tasks)}."
    if reported := [preset.name for preset in presets().values() if name in preset.tasks]:
        yield f"Presets of published rows: {', '.join(reported)}."
    if (plugin := plugin_of(name)) is not None:
        yield f"Plug-in: {plugin}"
    yield f"Source: {about.source}"

"""Output of an evaluation's report as text, JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli import output, render
from dycoke_cli.unicode import one_line, shown, to_json

if TYPE_CHECKING:
    from dycoke_cli.evaluation.report.evaluation_report import EvalReport
    from dycoke_cli.evaluation.report.scored_row import Change, ScoredRow

UNSCORED = 20
"""Number of unscored questions that the text format lists; JSON has all."""
_GROUPS = ("by_type", "by_label", "by_part")


def write_report(
    report: EvalReport, show_changed: bool, *, as_json: bool = False, as_csv: bool = False
) -> None:
    """Write a report to stdout; JSON has the changed answers only if they are asked for."""
    if as_json:
        listed = replace(report, changes=report.changed) if show_changed else report
        output.write_json(to_dict(listed))
    elif as_csv:
        output.write(_comma_separated(report))
    else:
        # Imported late: the help of `eval report` doesn't wait for tables.
        from dycoke_cli.cli.commands.eval_tables import evaluation

        render.to_stdout(evaluation(report))
        _write_unscored(report)
        if show_changed:
            _write_changes(report)
    if any(row.failed for row in report.rows):
        raise typer.Exit(1)


def _write_unscored(report: EvalReport) -> None:
    """Write the first unscored questions to stdout."""
    from dycoke_cli.evaluation.dataset import OWN_RULE
    from dycoke_cli.evaluation.report.evaluation_report import row_name

    if not report.unscored:
        return
    wrong = "Counted as wrong, for nothing could be scored"
    other = "Not understood, or not answered"
    output.write(f"\n{wrong if report.rule == OWN_RULE else other}:\n")
    # Failures first: the user may be able to fix them.
    for one in sorted(report.unscored, key=lambda one: one.reason != "failed")[:UNSCORED]:
        name = row_name(one.spec, one.model, report.model is None)
        output.line(
            f"{name}: {one.item} (video {one.video}), {one.reason}: {one.text or '(empty)'}"
        )
    if len(report.unscored) > UNSCORED:
        output.line(f"… and {len(report.unscored) - UNSCORED} more: --json lists them all")


def _write_changes(report: EvalReport) -> None:
    """Write all changed predictions to stdout, by row."""
    from dycoke_cli.evaluation.report.evaluation_report import row_name

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
"""Labels by the outcome in JSON."""


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


def _comma_separated(report: EvalReport) -> str:
    """CSV with a line per row: keys of the JSON object, and a column per group of questions."""
    lines = [_values(row) for row in report.rows]
    # `model` is here only for its position in the header; each row has its value.
    made_by = {
        "benchmark": report.benchmark, "edition": report.edition, "split": report.split,
        "rule": report.rule, "model": "",
    }  # fmt: skip
    if report.judge is not None:
        made_by |= {"judge": report.judge.model, "judge_date": report.judge.last_date}
    columns = dict.fromkeys([*made_by, *(name for line in lines for name in line)])
    file = io.StringIO()
    writer = csv.DictWriter(file, [*columns], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _safe(value) for name, value in {**made_by, **line}.items()})
    return file.getvalue()


def _values(row: ScoredRow) -> Mapping[str, Any]:
    values = to_dict(row)
    groups = {name: values.pop(name) for name in _GROUPS}
    values["parameters"] = to_json(values["parameters"])
    if (published := values.pop("published")) is not None:
        values |= {f"published.{name}": value for name, value in published.pop("figures").items()}
        published["differs"] = to_json(published["differs"])
        values |= {f"published.{name}": value for name, value in published.items()}
    return values | {
        f"{group}.{name}": mean["mean" if group == "by_part" else "accuracy"]
        for group, means in groups.items()
        for name, mean in means.items()
    }


def _safe(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value

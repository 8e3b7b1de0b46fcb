"""The report of an evaluation on stdout, in the formats of `dycoke eval report --format`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import typer

from dycoke_cli.cli import output, render
from dycoke_cli.cli.text import one_line, shown
from dycoke_cli.evaluation.changes import Change
from dycoke_cli.evaluation.dataset import OWN_RULE
from dycoke_cli.evaluation.report import Report, row_name
from dycoke_cli.json_schema import to_dict

UNSCORED = 20
"""How many of them the text lists; JSON has all."""


def write_report(report: Report, form: str, show_changed: bool) -> None:
    """Write a report to stdout.

    Args:
        report: all of it.
        form: in `FORMATS`.
        show_changed: with every prediction that a method changed, of text and JSON.

    Raises:
        typer.Exit: with code 1, where questions have no answer.
    """
    FORMATS[form](report, show_changed)
    if any(row.failed for row in report.rows):
        raise typer.Exit(1)


def _text(report: Report, show_changed: bool) -> None:
    from dycoke_cli.cli.render.evaluation import evaluation

    render.to_stdout(evaluation(report))
    _write_unscored(report)
    if show_changed:
        _write_changes(report)


def _json(report: Report, show_changed: bool) -> None:
    listed = replace(report, changes=report.changed) if show_changed else report
    output.write_json(to_dict(listed))


def _markdown(report: Report, _: bool) -> None:
    from dycoke_cli.cli.render.evaluation_files import markdown

    output.write(markdown(report))


def _csv(report: Report, _: bool) -> None:
    from dycoke_cli.cli.render.evaluation_files import comma_separated

    output.write(comma_separated(report))


FORMATS: dict[str, Callable[[Report, bool], None]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "csv": _csv,
}


def _write_unscored(report: Report) -> None:
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


def _write_changes(report: Report) -> None:
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

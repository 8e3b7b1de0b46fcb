"""`dycoke eval report`: the tables of runs again, from their folders alone."""

from __future__ import annotations

import contextlib

import typer

from dycoke_cli.cli import options, output, render
from dycoke_cli.cli.eval import write_report
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation import SCHEMA


def report(
    *,
    runs: options.Runs,
    data: options.OldData = None,
    markdown: options.Markdown = False,
    csv: options.Csv = False,
    show_changed: options.ShowChanged = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the tables of finished runs again, without a model.

    Examples:
        dycoke eval report first
        dycoke eval report shard1 shard2 --markdown

    Several runs are put together: those of one benchmark, asked under the same conditions. Of an
    answer that two of them have, the newer counts.
    """
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{}]))
        forms = [
            f for f, on in (("--json", as_json), ("--markdown", markdown), ("--csv", csv)) if on
        ]
        if len(forms) > 1:
            raise UsageError(f"{' and '.join(forms)} exclude each other; use one of them")
        from dycoke_cli.evaluation.combine import report_of

        made = report_of(runs, data)
        for sentence in () if quiet else made.warnings:
            render.warning(sentence)
        if markdown or csv:
            if show_changed:
                raise UsageError(
                    f"--show-changed isn't for {forms[0]}: leave it out, or use --json"
                )
            output.write(
                render.evaluation_markdown(made) if markdown else render.evaluation_csv(made)
            )
            if any(row.failed for row in made.rows):
                raise typer.Exit(1)
        else:
            write_report(made, as_json, show_changed)

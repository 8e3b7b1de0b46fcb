"""`dycoke eval report`: the tables of runs again, from their folders alone."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec

import typer

from dycoke_cli.cli import options, output, render
from dycoke_cli.cli.eval import write_report
from dycoke_cli.cli.picture_file import check_picture
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.extras import how_to_install


def report(
    *,
    runs: options.Runs,
    markdown: options.Markdown = False,
    csv: options.Csv = False,
    plot: options.Plot = None,
    rule: options.NewRule = None,
    show_changed: options.ShowChanged = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the tables of finished runs again, without a model.

    Examples:
        dycoke eval report first
        dycoke eval report shard1 shard2 --markdown
        dycoke eval report small large --plot accuracy.svg

    Several runs are put together: those of one benchmark, asked under the same conditions, of one
    model or of several. Of an answer that two of them have, the newer counts.
    """
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{}]))
        forms = [
            f for f, on in (("--json", as_json), ("--markdown", markdown), ("--csv", csv)) if on
        ]
        if len(forms) > 1:
            raise UsageError(f"{' and '.join(forms)} exclude each other; use one of them")
        if plot is not None:
            check_picture(plot, (".png", ".svg"))
            if find_spec("matplotlib") is None:
                raise UsageError(f"--plot needs the package matplotlib: {how_to_install('plot')}")
        from dycoke_cli.evaluation.combine import report_of

        made = report_of(runs, rule)
        for sentence in () if quiet else made.warnings:
            render.warning(sentence)
        if plot is not None:
            # Only now: matplotlib takes its time.
            from dycoke_cli.cli.eval_plot import accuracy_figure, undrawn
            from dycoke_cli.cli.plotting import write_figure

            write_figure(accuracy_figure(made), plot)
            for sentence in () if quiet else undrawn(made):
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

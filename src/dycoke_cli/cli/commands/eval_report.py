"""`dycoke eval report`: tables of finished runs, from their folders and logs."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from dycoke_cli.cli import output, render
from dycoke_cli.cli.commands.eval_output import write_report
from dycoke_cli.cli.flags import eval_flags, options
from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.cli.plots.picture_file import check_picture, write_picture
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.evaluation import SCHEMA
from dycoke_cli.extras import how_to_install

_FLAGS = flag_table("""
    RUN…: Folders that `dycoke eval --out` wrote, of one run, of several, or of its shards; or
        sample logs of lmms-eval, the baseline's first.
    [Output]
    --csv: Print CSV, a line per row.
    --plot FILE.png|FILE.svg: Also draw accuracy over retention, with standard errors: a line for
        each method, a panel for each model (needs the package matplotlib).
""")


def report(
    *,
    runs: Annotated[list[Path], _FLAGS["RUN…"]],
    csv: Annotated[bool, _FLAGS["--csv"]] = False,
    plot: Annotated[Path | None, _FLAGS["--plot"]] = None,
    rule: eval_flags.NewRule = None,
    show_changed: eval_flags.ShowChanged = False,
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
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{}]))
        for flag, given in (("--json", as_json), ("--show-changed", show_changed)):
            if csv and given:
                raise UsageError(f"{flag} and --csv exclude each other; use one of them")
        if plot is not None:
            check_picture(plot, (".png", ".svg"))
            if find_spec("matplotlib") is None:
                raise UsageError(f"--plot needs the package matplotlib: {how_to_install('plot')}")
        from dycoke_cli.evaluation.report.combine import report_of

        combined = report_of(runs, rule)
        for sentence in () if quiet else combined.warnings:
            render.warning(sentence)
        written = True
        if plot is not None:
            # Imported late: matplotlib is slow to import.
            from dycoke_cli.cli.plots.eval_plot import accuracy_figure, undrawn
            from dycoke_cli.cli.plots.plot_style import figure_bytes

            written = write_picture(plot, figure_bytes(accuracy_figure(combined), plot))
            for sentence in () if quiet else undrawn(combined):
                render.warning(sentence)
        write_report(combined, show_changed, as_json=as_json, as_csv=csv)
        if not written:
            raise typer.Exit(OutputError.exit_code)

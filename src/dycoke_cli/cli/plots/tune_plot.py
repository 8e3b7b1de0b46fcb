"""Plot of `dycoke tune --plot`: agreement over retention, with the Pareto front highlighted."""

from __future__ import annotations

import io

from matplotlib import rc_context

from dycoke_cli.cli.plots.plot_style import FAINT, TEXT_COLOUR, new_figure, unframe
from dycoke_cli.tuning.tune_report import TuneReport


def frontier(report: TuneReport, suffix: str) -> bytes:
    """Draw the report, in the format of a suffix."""
    figure = new_figure()
    axes = figure.add_subplot()
    for row in report.rows:
        agreement = row.agreement if row.tested is None else row.tested
        colour = "#f58518" if row.chosen else "#4c78a8" if row.on_frontier else FAINT
        if row.interval:
            ends = [[100 * x] for x in (agreement - row.interval[0], row.interval[1] - agreement)]
            ends = [[max(0.0, end[0])] for end in ends]
            axes.errorbar(100 * row.tokens, 100 * agreement, yerr=ends, color=colour, capsize=2)
        axes.plot(100 * row.tokens, 100 * agreement, "o", color=colour)
        if row.on_frontier or row.chosen:
            axes.annotate(row.setting, (100 * row.tokens, 100 * agreement), fontsize=7)
    axes.axhline(100 * report.target, color=FAINT, linewidth=1)
    axes.set_xlabel("visual tokens read, % (prefill and decode)", color=TEXT_COLOUR)
    axes.set_ylabel("answers that are the uncompressed model's, %", color=TEXT_COLOUR)
    unframe(axes)
    content, kind = io.BytesIO(), suffix.lower().removeprefix(".")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dycoke"}):
        figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()

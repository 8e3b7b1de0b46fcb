"""Accuracy over the tokens that all prefills read: guards, and their budgets by themselves."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.tune_tables import Points
from dycoke_cli.cli.plots.plot_style import FAINT, TEXT_COLOUR, new_figure, retention_axis

_COLOURS = ("#2b6cb0", "#1b7f5c", "#c8553d", "#8a4fbf")
_TICKS = (100, 75, 50, 35, 25, 15, 10)


def guard_figure(points: Points) -> Figure:
    """A colour for each ladder: budgets by themselves on a line to all tokens, guards as points."""
    figure = new_figure()
    axes = figure.subplots()
    axes.axhline(100 * points.full, color=TEXT_COLOUR, linewidth=1.0, linestyle=(0, (5, 3)))
    keys = []
    for (ladder, fixed), colour in zip(points.fixed.items(), _COLOURS, strict=False):
        line = [(100 * tokens, 100 * right) for tokens, right in (*fixed, (1.0, points.full))]
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=1.2, marker="o", markersize=4)
        for one in points.guards[ladder]:
            at = (100 * one.tokens, 100 * one.right)
            face = "white" if one.on_average else colour
            axes.plot(*at, marker="D", markersize=7, color=colour, markerfacecolor=face, zorder=3)
            axes.annotate(
                f"{100 * one.alpha:g} %", at, (5, 5), textcoords="offset points", fontsize=7,
                color=colour,
            )  # fmt: skip
        keys.append(Line2D([], [], color=colour, marker="o", markersize=4, label=ladder))
    for face, label in ((FAINT, "guard, 95 % confidence"), ("white", "guard, on average")):
        keys.append(
            Line2D([], [], color=FAINT, marker="D", linestyle="", markerfacecolor=face, label=label)
        )
    axes.legend(handles=keys, fontsize=8, frameon=False, loc="lower left", labelcolor=TEXT_COLOUR)
    axes.set_ylabel("correct answers, %", fontsize=9, color=TEXT_COLOUR)
    figure.supxlabel("visual tokens read by all prefills", fontsize=9, color=TEXT_COLOUR)
    least = min(tokens for line in points.fixed.values() for tokens, _ in line)
    retention_axis(axes, 93 * least, _TICKS)
    # A guard may read more than asking once with all tokens.
    most = max(one.tokens for guards in points.guards.values() for one in guards)
    axes.set_xlim(left=max(axes.get_xlim()[0], 104 * most))
    return figure

"""Accuracy over retention: a line for each method, the best and the controls in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from benchmarks.method_tables import CONTROLS, Row, best_first, by_budget
from benchmarks.plots import TEXT_COLOUR, new_figure, unframe

_COLOURS = ("#1b7f5c", "#2b6cb0", "#8a4fbf")
"""Of the best methods; all others are grey, and have one name."""
_CONTROL, _OURS, _FAINT = "#c8553d", "#111111", "#c2c2c2"
CONTROL = "random"
_FIRST = ("dycoke", "fastv")
"""Of those without a budget, what the others are compared with."""
_TICKS = (100, 50, 25, 15, 10, 5)
_BESIDE: dict[str, Any] = {
    "textcoords": "offset points",
    "fontsize": 8,
    "color": TEXT_COLOUR,
    # So that a name can be read on a line.
    "path_effects": [withStroke(linewidth=2.5, foreground="white")],
    "zorder": 4,
}


def method_figure(rows: Sequence[Row]) -> Figure:
    """The rows of a report of `dycoke eval`; the best methods have a colour."""
    figure = new_figure()
    axes = figure.subplots()
    budgeted, others = by_budget(rows)
    best = [name for name in best_first(budgeted) if name != CONTROL]
    colours = dict(zip(best, _COLOURS, strict=False)) | {CONTROL: _CONTROL}
    lines = {
        name: sorted((_retention(row), 100 * row["accuracy"]) for row in of_method.values())
        for name, of_method in budgeted.items()
    }
    base = next(100 * row["accuracy"] for row in rows if row["spec"] == "none")
    axes.axhline(base, color=TEXT_COLOUR, linewidth=1.0, linestyle=(0, (5, 3)))
    first_grey = next((name for name in lines if name not in colours), None)
    # What stands in front is drawn last.
    for name in sorted(lines, key=lambda one: one in colours):
        width = 2.0 if name in colours else 1.0
        # All tokens kept are the baseline.
        retentions, heights = zip(*lines[name], (100.0, base), strict=True)
        colour = colours.get(name, _FAINT)
        label = name if name in colours else "other methods" if name == first_grey else None
        axes.plot(retentions, heights, color=colour, linewidth=width, zorder=width, label=label)
    _draw_points(axes, [row for row in others if row["changed"] is not None])
    least = min((points[0][0] for points in lines.values()), default=5)
    _retention_axis(axes, least, _TICKS)
    axes.annotate(f"baseline {base:.1f}", (least, base), (0, 4), ha="right", **_BESIDE)
    _name_lines(axes)
    axes.set_ylabel("correct answers, %", fontsize=9, color=TEXT_COLOUR)
    figure.supxlabel(
        "visual tokens that a decoding step attends to (mean over layers)",
        fontsize=9,
        color=TEXT_COLOUR,
    )
    return figure


def _retention_axis(axes: Axes, least: float, ticks: Sequence[float]) -> None:
    """Set up a logarithmic horizontal axis of retention, with all tokens on the left."""
    axes.set_xscale("log")
    axes.set_xlim(105, least)
    axes.set_xticks([tick for tick in ticks if tick >= 0.9 * least], minor=False)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0f} %")
    axes.set_xticks([], minor=True)
    axes.tick_params(labelsize=8, labelcolor=TEXT_COLOUR, length=0)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    unframe(axes)


def _name_lines(axes: Axes) -> None:
    """Add a legend with all labelled lines, at the right of a plot."""
    style = {"fontsize": 8, "labelcolor": TEXT_COLOUR, "frameon": False}
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0, **style)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_points(axes: Axes, rows: Sequence[Row]) -> None:
    """Methods without a budget, where their defaults put them; names below and above in turn."""
    methods = sorted((row for row in rows if row["method"] not in CONTROLS), key=_retention)
    for number, row in enumerate(methods):
        style = _BESIDE | {"color": _OURS if row["method"] in _FIRST else TEXT_COLOUR}
        at, beside = (_retention(row), 100 * row["accuracy"]), (6, 5 if number % 2 else -11)
        axes.plot(*at, marker="o", markersize=5, color=style["color"], zorder=3)
        axes.annotate(row["method"], at, beside, **style)


def _retention(row: Row) -> float:
    """In percent: at decode, where that is known."""
    kept = row["kept_in_decode"]
    return 100 * float(row["kept_before_llm"] if kept is None else kept)

"""Accuracy over retention: a line for each method, the best and the controls in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.method_tables import CONTROLS, Row, best_first, by_budget
from benchmarks.plotting import TEXT_COLOUR, new_figure, unframe

BEST = 3
"""That many methods have a colour beside the control."""
_COLOURS = ("#1b7f5c", "#2b6cb0", "#8a4fbf")
_CONTROL, _OURS, _OTHER = "#c8553d", "#111111", "#c2c2c2"
CONTROL = "random"
_FIRST = ("dycoke", "fastv")
"""Methods without a budget that have a name in the picture whatever else there is."""
_APART = 0.034
"""Of the height of the axis, between two names."""


def method_figure(models: Mapping[str, Sequence[Row]]) -> Figure:
    """A panel for each model.

    Args:
        models: rows of a report of `dycoke eval` by the name of the model.
    """
    figure = new_figure()
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, (name, rows) in zip(panels, models.items(), strict=True):
        _draw(axes, rows)
        if len(models) > 1:
            axes.set_title(name, fontsize=10, color=TEXT_COLOUR)
    panels[0].set_ylabel("correct answers, %", fontsize=9, color=TEXT_COLOUR)
    figure.supxlabel(
        "visual tokens that a decoding step attends to (mean over layers)",
        fontsize=9,
        color=TEXT_COLOUR,
    )
    return figure


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    budgeted, others = by_budget(rows)
    base = next(100 * row["accuracy"] for row in rows if row["spec"] == "none")
    axes.axhline(base, color=TEXT_COLOUR, linewidth=1.0, linestyle=(0, (5, 3)))
    axes.annotate(f"baseline {base:.1f}", (100, base), (0, 4), **_BESIDE)
    names = [name for name in best_first(budgeted) if name != CONTROL]
    colours = dict(zip(names, _COLOURS, strict=False)) | {CONTROL: _CONTROL}
    ends: list[tuple[float, str, str]] = []
    # What stands in front is drawn last.
    for name in sorted(budgeted, key=lambda one: one in colours):
        points = sorted((_retention(row), 100 * row["accuracy"]) for row in budgeted[name].values())
        # All tokens kept are the baseline.
        points.append((100.0, base))
        colour = colours.get(name, _OTHER)
        width = 2.0 if name in colours else 1.0
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=width, zorder=width)
        ends.append((points[0][1], name, colours.get(name, TEXT_COLOUR)))
    for row in others:
        if row["changed"] is not None and row["method"] not in CONTROLS:
            _draw_point(axes, row)
    _name_ends(axes, ends)
    _set_axis(axes, [_retention(row) for one in budgeted.values() for row in one.values()])


def _draw_point(axes: Axes, row: Row) -> None:
    """A method without a budget, where its defaults put it."""
    colour = _OURS if row["method"] in _FIRST else TEXT_COLOUR
    at = _retention(row), 100 * row["accuracy"]
    axes.plot(*at, marker="o", markersize=5, color=colour, zorder=3)
    axes.annotate(row["method"], at, (6, -10), **_BESIDE | {"color": colour, "ha": "left"})


_BESIDE: dict[str, Any] = {
    "textcoords": "offset points",
    "fontsize": 8,
    "color": TEXT_COLOUR,
    "ha": "left",
}


def _name_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names at the ends of their lines, moved apart where they would lie on each other."""
    ends.sort(reverse=True)
    lowest, highest = axes.get_ylim()
    heights = apart([height for height, _, _ in ends], _APART * (highest - lowest))
    for (height, name, colour), moved in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (1, height),
            (1.05, moved),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": _OTHER, "linewidth": 0.6},
        )


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights, highest first, moved until each is that far below the one before.

    The whole stays where it was in the mean, as far as that goes.
    """
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - least) if placed else height)
    shift = (sum(heights) - sum(placed)) / max(1, len(placed))
    return [height + shift for height in placed]


def _retention(row: Row) -> float:
    """In percent: at decode, where that is known."""
    kept = row["kept_in_decode"]
    return 100 * float(row["kept_before_llm"] if kept is None else kept)


def _set_axis(axes: Axes, retentions: Sequence[float]) -> None:
    axes.set_xscale("log")
    least = min(retentions, default=5)
    axes.set_xlim(105, least)
    axes.set_xticks([t for t in (100, 50, 25, 15, 10, 5) if t >= 0.9 * least], minor=False)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0f} %")
    axes.set_xticks([], minor=True)
    axes.tick_params(labelsize=8, labelcolor=TEXT_COLOUR, length=0)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    unframe(axes)

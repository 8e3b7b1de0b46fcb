"""Shared style of the plots, and the retention axis. Imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dycoke_cli.cli.plots.picture_file import write_picture

WIDTH_PX, HEIGHT_PX = 1800, 960  # twice the width of a README, for sharp screens
TEXT_COLOUR, FAINT = "#444444", "#c2c2c2"
_DPI = 200
_APART = 0.034
"""Least distance between two labels, as a fraction of the axis height."""


def new_figure(rows: int = 1) -> Figure:
    """Empty figure of `WIDTH_PX` x `HEIGHT_PX` per row of panels."""
    size = (WIDTH_PX / _DPI, rows * HEIGHT_PX / _DPI)
    return Figure(figsize=size, layout="constrained")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, according to the suffix."""
    kind = path.suffix.lower().removeprefix(".")
    content = io.BytesIO()
    # SVG with text elements instead of outlines, and without date and random ids: deterministic.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dycoke"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
    write_picture(path, content.getvalue())


def unframe(axes: Axes) -> None:
    """Remove the frame of a plot."""
    for spine in axes.spines.values():
        spine.set_visible(False)


def retention_axis(axes: Axes, least: float, ticks: Sequence[float]) -> None:
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


def name_ends(
    axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str]
) -> None:
    """Label the lines at the right of a plot, without overlap, with a connector to each end."""
    lowest, highest = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][1], reverse=True)
    heights = apart([ends[name][1] for name in names], _APART * (highest - lowest))
    for name, height in zip(names, heights, strict=True):
        axes.annotate(
            name,
            ends[name],
            (1.04, height),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8,
            color=colours.get(name, TEXT_COLOUR),
            va="center",
            annotation_clip=False,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "relpos": (0, 0.5)},
        )


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Move heights (highest first) as little as possible so that they are `least` apart."""
    # Labels that would overlap form a group, spaced evenly around their mean. A group that then
    # overlaps the one above is merged with it.
    groups: list[list[float]] = []
    for height in heights:
        group = [height]
        while groups and _top(groups[-1], least) - len(groups[-1]) * least < _top(group, least):
            group = groups.pop() + group
        groups.append(group)
    return [_top(group, least) - number * least for group in groups for number in range(len(group))]


def _top(group: Sequence[float], least: float) -> float:
    """Height of the first label of a group that is centred on the mean of its heights."""
    return sum(group) / len(group) + (len(group) - 1) / 2 * least

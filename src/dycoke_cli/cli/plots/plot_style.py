"""The look that all plots share, and the axis of retention. Importing it imports matplotlib."""

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
"""Of the height of the axis, between two names."""


def new_figure(rows: int = 1) -> Figure:
    """An empty figure of `WIDTH_PX` x `HEIGHT_PX`, or as high as several rows of these."""
    size = (WIDTH_PX / _DPI, rows * HEIGHT_PX / _DPI)
    return Figure(figsize=size, layout="constrained")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the suffix names: PNG or SVG.

    Raises:
        OutputError: the file can't be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    content = io.BytesIO()
    # Texts in an SVG stay texts, and the same picture is the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dycoke"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
    write_picture(path, content.getvalue())


def unframe(axes: Axes) -> None:
    """Take away the lines around a plot."""
    for spine in axes.spines.values():
        spine.set_visible(False)


def retention_axis(axes: Axes, least: float, ticks: Sequence[float]) -> None:
    """Make the horizontal axis one of retention: all tokens on the left, logarithmic.

    Args:
        axes: of which it is.
        least: percent at its right end.
        ticks: percent; those that are beyond it are left out.
    """
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
    """Write names on the right of a plot, apart from each other, each with a line to its end.

    Args:
        axes: of the plot.
        ends: where each line ends, by name.
        colours: of names; all others have that of text.
    """
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
    """Heights, highest first, moved as little as puts each that far below the one before."""
    groups: list[list[float]] = []
    for height in heights:
        group = [height]
        while groups and _top(groups[-1], least) - len(groups[-1]) * least < _top(group, least):
            group = groups.pop() + group
        groups.append(group)
    return [_top(group, least) - number * least for group in groups for number in range(len(group))]


def _top(group: Sequence[float], least: float) -> float:
    """Of names that stand close together, around the mean of where they should be."""
    return sum(group) / len(group) + (len(group) - 1) / 2 * least

"""Shared style of the plots, and the retention axis. Imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH_PX, HEIGHT_PX = 1800, 960  # twice the width of a README, for sharp screens
TEXT_COLOUR, FAINT = "#444444", "#c2c2c2"
_DPI = 200


def new_figure(rows: int = 1) -> Figure:
    """Empty figure of `WIDTH_PX` x `HEIGHT_PX` per row of panels."""
    size = (WIDTH_PX / _DPI, rows * HEIGHT_PX / _DPI)
    return Figure(figsize=size, layout="constrained")


def figure_bytes(figure: Figure, path: Path) -> bytes:
    """A figure as PNG or SVG, according to the suffix."""
    kind = path.suffix.lower().removeprefix(".")
    content = io.BytesIO()
    # SVG with text elements instead of outlines, and without date and random ids: deterministic.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dycoke"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
    return content.getvalue()


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


def name_lines(axes: Axes) -> None:
    """Add a legend with all labelled lines, at the right of a plot."""
    style = {"fontsize": 8, "labelcolor": TEXT_COLOUR, "frameon": False}
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0, **style)
    for text in legend.get_texts():
        text.set_parse_math(False)

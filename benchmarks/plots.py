"""What all plots in the docs share: their size, their colour, their bytes."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH_PX, HEIGHT_PX = 1800, 960  # twice the width of a README, for sharp screens
TEXT_COLOUR = "#444444"
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

"""The look that all pictures of the pages share."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dycoke_cli.errors import OutputError

WIDTH_PX, HEIGHT_PX = 1800, 960  # twice the width of a README, for sharp screens
TEXT_COLOUR = "#444444"
_DPI = 200


def new_figure() -> Figure:
    """An empty figure of `WIDTH_PX` x `HEIGHT_PX`."""
    return Figure(figsize=(WIDTH_PX / _DPI, HEIGHT_PX / _DPI), layout="constrained")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG.

    Raises:
        OutputError: the file can't be written.
    """
    try:
        figure.savefig(path, format="png", dpi=_DPI)
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror}") from error


def unframe(axes: Axes) -> None:
    """Take away the lines around a plot."""
    for spine in axes.spines.values():
        spine.set_visible(False)

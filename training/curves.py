"""The learning curves of a run: the share of correct answers over the steps, by kind."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dycoke_cli.errors import UsageError
from training.world.script_questions import KINDS

_SMALL = 7.5
# Of all plots in the docs.
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


@dataclass(frozen=True)
class Point:
    """What a run's log says of a step: its stage, and the share of correct answers by kind."""

    step: int
    stage: str
    accuracy: dict[str, float]


def read_log(path: Path) -> list[Point]:
    """The steps of a log, in order.

    Steps that were made again after a kill count as they were made last; a line that was cut
    off counts for nothing.
    """
    if not path.is_file():
        raise UsageError(f"{path} isn't there: the log of a training run is needed.")
    found: dict[int, Point] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            point = Point(*(json.loads(line)[key] for key in ("step", "stage", "accuracy")))
        except (ValueError, KeyError, TypeError):
            continue
        found = {step: kept for step, kept in found.items() if step < point.step}
        found[point.step] = point
    if not found:
        raise UsageError(f"{path} has no step of a training run.")
    return list(found.values())


def write_curves(points: list[Point], path: Path) -> None:
    """Write the picture as a PNG."""
    path.write_bytes(figure_bytes(curves_figure(points), path))


def curves_figure(points: list[Point]) -> Figure:
    """Answers in one half, what probes read off single tokens in the other."""
    told = {kind for point in points for kind in point.accuracy}
    questions = [kind for kind in KINDS if kind in told]
    figure = new_figure()
    halves = figure.subplots(1, 2, sharey=True)
    for axes, title, kinds in (
        (halves[0], "answers", questions),
        (halves[1], "probes", sorted(told - set(KINDS))),
    ):
        axes.set_title(title, fontsize=10, color=TEXT_COLOUR, pad=34)
        _draw(axes, points, kinds)
        _mark_stages(axes, points)
    halves[0].set_ylabel("share correct, running mean", fontsize=9, color=TEXT_COLOUR)
    return figure


def _draw(axes: Axes, points: list[Point], kinds: list[str]) -> None:
    # A stage may come again, where a run went on from one that had ended.
    stages = [list(of_stage) for _, of_stage in groupby(points, lambda point: point.stage)]
    for number, kind in enumerate(kinds):
        steps, shares = [], []
        for stage in stages:
            of_stage = [point for point in stage if kind in point.accuracy]
            if not of_stage:
                continue
            # Each stage counts anew: a gap, so that no line joins what doesn't belong together.
            steps += [point.step for point in of_stage] + [of_stage[-1].step]
            shares += [point.accuracy[kind] for point in of_stage] + [float("nan")]
        style = ("-", "--")[number // 7]
        axes.plot(steps, shares, style, color=f"C{number % 7}", linewidth=1, label=kind)
    axes.set_ylim(0, 1.0)
    axes.set_xlim(0, points[-1].step)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("step", fontsize=9, color=TEXT_COLOUR)
    axes.tick_params(labelsize=8, labelcolor=TEXT_COLOUR)
    axes.grid(axis="y", linewidth=0.3)
    if kinds:
        axes.legend(
            fontsize=_SMALL,
            ncols=4,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            frameon=False,
            labelcolor=TEXT_COLOUR,
        )
    unframe(axes)


def _mark_stages(axes: Axes, points: list[Point]) -> None:
    """A line where each stage begins, and its name above."""
    before = ""
    for point in points:
        if point.stage != before:
            begin = 0 if not before else point.step
            axes.axvline(begin, color=TEXT_COLOUR, linewidth=0.5)
            axes.text(begin, 1.01, point.stage, fontsize=_SMALL, rotation=22, color=TEXT_COLOUR)
            before = point.stage

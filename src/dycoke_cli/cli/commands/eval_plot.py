"""Plot of `dycoke eval report --plot`: accuracy over retention, a line per method; and its style.

Imports matplotlib.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dycoke_cli.compression.registry import ABLATIONS
from dycoke_cli.evaluation.report.evaluation_report import EvalReport, row_name
from dycoke_cli.evaluation.report.scored_row import ScoredRow
from dycoke_cli.unicode import one_line

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


_COLOURS = ("#1b7f5c", "#2b6cb0", "#c8553d", "#8a4fbf", "#c98a04", "#0e8aa6", "#b03a7a", "#6b7280")
_MARKERS = "osD^v<>P"
_TICKS = (100, 75, 50, 35, 25, 15, 10, 5, 3, 2, 1)
_FEW_TICKS = (100, 50, 25, 10, 5, 2)
_LONGEST = 44
"""Characters of a model's name; a longer one is cut in front, since its end is more specific."""
_STEP = 0.012
"""Horizontal shift between lines, on the logarithmic axis, so that error bars don't overlap."""
_LEAST, _MARGIN = 50.0, 0.93
"""Right end of the axis if no row retains less; margin factor otherwise."""


@dataclass(frozen=True)
class _Line:
    """Line of the plot: rows of a method that differ in retention only."""

    name: str
    rows: Sequence[ScoredRow]


def accuracy_figure(report: EvalReport) -> Figure:
    """Draw a panel per model: points with clustered standard errors, the baseline dashed.

    The axis is retention at decode, or at prefill if a row has no decoding step.
    """
    placed = [row for row in report.rows if _is_placed(row)]
    decode = all(row.kept_in_decode is not None for row in placed)
    models = [model.name for model in report.models]
    alone = len(models) == 1
    columns = 2 if len(models) == 4 else min(len(models), 3)  # four are drawn as 2 x 2
    high = math.ceil(len(models) / columns)
    figure = new_figure(high)
    panels = figure.subplots(high, columns, sharey=True, squeeze=False).flatten()
    retentions = [kept for row in placed if (kept := _retention(row, decode))]
    least = _MARGIN * min([*retentions, _LEAST])
    lines = {name: _lines(row for row in report.rows if row.model == name) for name in models}
    names = list(dict.fromkeys(line.name for of in lines.values() for line in of))
    for axes, model in zip(panels, models, strict=False):
        rows = [row for row in report.rows if row.model == model]
        _draw(axes, rows, lines[model], names, decode)
        name_lines(axes)
        ticks = _TICKS if alone else _FEW_TICKS
        retention_axis(axes, least, [tick for tick in ticks if tick >= least])
        axes.set_xlim(105, least)
        if not alone:
            axes.set_title(_short(model), fontsize=10, color=TEXT_COLOUR, parse_math=False)
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    where = "attended to by a decoding step (mean over layers)" if decode else "kept at prefill"
    style = {"fontsize": 9, "color": TEXT_COLOUR}
    figure.supxlabel(f"visual tokens {where}", **style)
    metric = "ROUGE-L F1" if report.metric == "rouge_l_f1" else report.metric
    figure.supylabel(f"{metric}, % (± standard error, clustered by video)", **style)
    questions, videos = report.rows[0].questions, report.videos
    title = f"{report.benchmark}, {report.split} split: {questions:,} questions, {videos:,} videos"
    if alone:
        title += f"; {_short(models[0])}"
    figure.suptitle(one_line(title), fontsize=10, color=TEXT_COLOUR, parse_math=False)
    return figure


def undrawn(report: EvalReport) -> list[str]:
    """Sentences about rows without a point in the plot."""
    several = report.model is None
    return [
        f"{row_name(row.spec, row.model, several)} isn't in the picture: it has no answers"
        for row in report.rows
        if row.accuracy is None or row.failed == row.questions
    ]


def _lines(rows: Iterable[ScoredRow]) -> list[_Line]:
    """Group the rows of a model into lines.

    Rows of a method are on one line if they differ in float parameters only, such as a budget.
    Other differences are part of the line's name.
    """
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[ScoredRow]] = {}
    for row in rows:
        if row.method == "none" or not _is_placed(row):
            continue
        fixed = {n: str(v) for n, v in row.parameters.items() if not isinstance(v, float)}
        groups.setdefault((row.method, tuple(sorted(fixed.items()))), []).append(row)
    lines = []
    for (method, fixed_of), of in groups.items():
        others = [dict(pairs) for name, pairs in groups if name == method]
        differing = [
            f"{name}={value.lower()}"
            for name, value in fixed_of
            if len({other.get(name) for other in others}) > 1
        ]
        lines.append(_Line(one_line(" ".join([method, *differing])), of))
    return lines


def _draw(
    axes: Axes, rows: Sequence[ScoredRow], lines: Sequence[_Line], names: list[str], decode: bool
) -> None:
    """Draw one panel, with a label of each line."""
    for row in rows:
        if row.accuracy is None or row.failed == row.questions:
            continue
        accuracy, error = _percent(row)
        if row.method == "none":
            label = f"baseline {accuracy:.1f}"
            axes.axhline(
                accuracy, label=label, color=TEXT_COLOUR, linewidth=1.0, linestyle=(0, (5, 3))
            )
            axes.axhspan(
                accuracy - error, accuracy + error, color=TEXT_COLOUR, alpha=0.07, linewidth=0
            )
        elif _is_control(row):
            label = f"{row.method} {accuracy:.1f}"
            axes.axhline(accuracy, label=label, color=FAINT, linewidth=1.0, linestyle=(0, (1, 2)))
    for number, line in enumerate(lines):
        place = names.index(line.name)
        # A factor, not a summand: on a logarithmic axis it is the same shift everywhere.
        apart = math.exp((number - (len(lines) - 1) / 2) * _STEP)
        points = sorted(
            (kept * apart, *_percent(row))
            for row in line.rows
            if (kept := _retention(row, decode)) is not None
        )
        at, heights, errors = zip(*points, strict=True)
        axes.errorbar(
            at,
            heights,
            errors,
            label=line.name,
            color=_COLOURS[place % len(_COLOURS)],
            marker=_MARKERS[place % len(_MARKERS)],
            linestyle="-" if place < len(_COLOURS) else "--",
            markersize=4,
            linewidth=1.4,
            elinewidth=0.9,
            capsize=2.5,
        )


def _is_control(row: ScoredRow) -> bool:
    return row.method in ABLATIONS and ABLATIONS[row.method].frames is not None


def _is_placed(row: ScoredRow) -> bool:
    """Whether a row has a point: it has a retention and an accuracy, and isn't a control."""
    return None not in (row.kept_before_llm, row.accuracy) and not _is_control(row)


def _retention(row: ScoredRow, decode: bool) -> float | None:
    """Retention in percent; None without an answer."""
    kept = row.kept_in_decode if decode else row.kept_before_llm
    return None if kept is None else 100 * kept


def _percent(row: ScoredRow) -> tuple[float, float]:
    """Accuracy and its ± in percent; 0 if there is no error (one video)."""
    return 100 * (row.accuracy or 0.0), 100 * (row.plus_minus or 0.0)


def _short(model: str) -> str:
    name = one_line(model)
    return name if len(name) <= _LONGEST else f"…{name[-_LONGEST + 1 :]}"

"""Which frames the bundled model attends to while it answers, and what stage 2 evicts and recalls.

`python -m benchmarks.attention` asks what happens in some videos of `shapes` (validation split)
under DyCoke's defaults, writes a trace (JSON) and a picture of each into `--out`, and prints how
often the KV selection was updated over all of them. `--write` makes the first picture that of
docs/engine.md.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.page import ROOT
from dycoke_cli.cli.plotting import TEXT_COLOUR, new_figure, unframe, write_figure
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.models.load import load
from dycoke_cli.video import Sampling, read

PICTURE = ROOT / "docs" / "attention.png"
FRAMES = 32
_MOST_LABELS = 56  # words that stand side by side without touching
_TITLE_COLUMNS = 95
_RECALLED, _EVICTED = "#1b7f5c", "#c8553d"
_CENTRED: dict[str, Any] = {"fontsize": 8.5, "ha": "center", "va": "center"}


def main() -> None:
    """Ask, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("videos", nargs="*", help="of shapes, such as v003 (default: --first)")
    parser.add_argument("--first", type=int, default=20, help="that many videos (default: 20)")
    parser.add_argument("--question", default="What happens in the video?")
    parser.add_argument("--out", type=Path, default=Path("runs/attention"))
    parser.add_argument(
        "--write", action="store_true", help=f"the first one becomes {PICTURE.name}"
    )
    arguments = parser.parse_args()
    shapes, loaded = Shapes(), load("mini")
    listed = dict.fromkeys(item.video for item in shapes.items("validation", arguments.first))
    method = DyCoke().suited(loaded.method_defaults)
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures, steps = [], []
    for video in arguments.videos or listed:
        session = VideoSession(loaded, read(shapes.file(video), Sampling(frames=FRAMES)))
        answer = session.ask(arguments.question, method, trace=True)
        assert answer.trace is not None
        trace = answer.trace.to_dict()
        (arguments.out / f"{video}.json").write_text(json.dumps(trace))
        pictures.append(arguments.out / f"{video}.png")
        write_figure(attention_figure(trace, arguments.question), pictures[-1])
        # The first selection of an answer evicts most, and is no reselection.
        steps += answer.trace.steps[1:]
        print(f"{video}: {answer.answer}")
    renewed = [step for step in steps if step.renewed]
    swapped = sum(len(step.recalled) for step in renewed) / max(1, len(renewed))
    active = sum(sum(step.active) for step in steps) / max(1, len(steps))
    print(
        f"{len(renewed)} of {len(steps)} steps reselected "
        f"({len(renewed) / max(1, len(steps)):.0%}); a reselection recalled {swapped:.1f} of "
        f"{active:.0f} active tokens."
    )
    if arguments.write:
        shutil.copyfile(pictures[0], PICTURE)


def attention_figure(trace: Mapping[str, Any], title: str) -> Figure:
    """The attention over the frames at each decoding step, above what was evicted and recalled.

    The figure is the paper's (DyCoke, arXiv 2411.15024: attention shifts over the frames while the
    model answers), made from one answer.

    Args:
        trace: what `Trace.to_dict()` gave.
        title: above the figure: the question.

    Raises:
        UsageError: a trace without decoding steps.
    """
    figure = new_figure()
    steps = trace["steps"]
    if not steps:
        raise UsageError("an answer of a single token has no decoding steps to draw")
    heat, bars = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
    # A question is text; two dollar signs in it aren't a formula.
    lines = textwrap.fill(title, _TITLE_COLUMNS)
    figure.suptitle(lines, fontsize=11, color=TEXT_COLOUR, parse_math=False)
    _draw_attention(figure, heat, trace)
    _draw_moves(bars, steps)
    _label_steps(bars, steps)
    return figure


def _draw_attention(figure: Figure, axes: Axes, trace: Mapping[str, Any]) -> None:
    columns = [_shares(step["attention"]) for step in trace["steps"]]
    frames = [list(row) for row in zip(*columns, strict=True)]
    image = axes.imshow(frames, aspect="auto", cmap="BuPu", vmin=0, interpolation="nearest")
    axes.set_ylabel("frame", fontsize=9, color=TEXT_COLOUR)
    every = math.ceil(trace["frames"] / 8)
    numbers = range(0, trace["frames"], every)
    axes.set_yticks(numbers, [str(number + 1) for number in numbers], fontsize=8, color=TEXT_COLOUR)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=18)
    bar.set_label(f"share of attention (layer {trace['layer']})", fontsize=9, color=TEXT_COLOUR)
    bar.ax.tick_params(labelsize=8, labelcolor=TEXT_COLOUR)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    bar.outline.set_visible(False)
    unframe(axes)


def _shares(attention: list[float]) -> list[float]:
    """Attention of one step by frame, as shares of the total over the video."""
    whole = sum(attention)
    return [share / whole if whole else 0.0 for share in attention]


def _draw_moves(axes: Axes, steps: list[Mapping[str, Any]]) -> None:
    recalled = [len(step["recalled"]) for step in steps]
    evicted = [len(step["evicted"]) for step in steps]
    numbers = range(len(steps))
    axes.bar(numbers, recalled, width=0.8, color=_RECALLED)
    axes.bar(numbers, [-count for count in evicted], width=0.8, color=_EVICTED)
    # The first selection evicts far more than later ones exchange: its bar runs off below, and
    # its number stands where nothing can have been recalled yet.
    most = max([1, *recalled, *evicted[1:]])
    axes.set_ylim(-1.1 * most, 1.1 * most)
    if evicted[0] > most:
        axes.text(0, 0.5 * most, f"−{evicted[0]:,}", **_CENTRED, rotation=90, color=_EVICTED)
    axes.axhline(0, color=TEXT_COLOUR, linewidth=0.6)
    beside = axes.get_yaxis_transform()
    for y, word, color in ((0.6, "recalled", _RECALLED), (-0.6, "evicted", _EVICTED)):
        axes.text(-0.055, y * most, word, **_CENTRED, rotation=90, color=color, transform=beside)
    axes.locator_params(axis="y", nbins=5, integer=True)
    axes.yaxis.set_major_formatter(lambda count, _: f"{abs(count):,.0f}")
    axes.tick_params(axis="y", labelsize=8, labelcolor=TEXT_COLOUR)
    unframe(axes)


def _label_steps(axes: Axes, steps: list[Mapping[str, Any]]) -> None:
    words = [step["text"].strip() for step in steps]
    words[-1] = words[-1] or "(end)"
    every = math.ceil(len(steps) / _MOST_LABELS)
    axes.set_xticks(
        range(0, len(steps), every),
        words[::every],
        rotation=50,
        ha="right",
        rotation_mode="anchor",
        fontsize=9,
        color=TEXT_COLOUR,
        parse_math=False,
    )
    axes.set_xlim(-0.5, len(steps) - 0.5)


if __name__ == "__main__":
    main()

"""Cost against the number of frames, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.plots import TEXT_COLOUR, figure_bytes, new_figure, unframe
from benchmarks.speed.tables import STAGES, Rounds, median

PANELS = {"end to end": "seconds end to end", "TPOT": "TPOT, ms"}


def write_plot(heats: Mapping[int, Rounds], machine: str, path: Path) -> None:
    """Draw the medians of every contestant that took part with two numbers of frames or more."""
    names = [n for n in next(iter(heats.values())) if sum(n in heat for heat in heats.values()) > 1]
    figure = new_figure()
    figure.suptitle(machine, fontsize=9, color=TEXT_COLOUR)
    for axes, (stage, label) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for name in names:
            frames = sorted(count for count, heat in heats.items() if name in heat)
            values = [median(heats[count][name], STAGES[stage][1]) for count in frames]
            axes.plot(frames, values, marker="o", markersize=3, linewidth=1.4, label=name)
        axes.set_xlabel("frames", color=TEXT_COLOUR)
        axes.set_title(label, fontsize=9, color=TEXT_COLOUR)
        axes.set_xticks(sorted(heats))
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=7, colors=TEXT_COLOUR)
        unframe(axes)
        axes.grid(visible=True, linewidth=0.3)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7
    )
    path.write_bytes(figure_bytes(figure, path))

"""Medians as Markdown: configurations down, stages across, with ratios to the first."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.cells import head, line
from benchmarks.speed.journal import Heat
from benchmarks.speed.measured import Measured
from dycoke_cli.models.catalog import published_names

Rounds = Mapping[str, Sequence[Measured]]
Figure = Callable[[Measured], float]

PEAK = "peak memory, excluding weights"

STAGES: dict[str, tuple[str, Figure]] = {
    "loading": ("s", lambda m: m.loading),
    "processor": ("s", lambda m: m.processor),
    "vision": ("s", lambda m: m.vision),
    "prefill": ("s", lambda m: m.prefill),
    "TTFT": ("s", lambda m: m.processor + m.vision + m.prefill),
    "TPOT": ("ms", lambda m: m.token * 1e3),
    "decode": ("s", lambda m: m.decode),
    "bandwidth": ("GB/s", lambda m: m.read / m.token / 1e9),
    "end to end": ("s", lambda m: m.total),
    PEAK: ("MB", lambda m: (m.peak or 0) / 1e6),
    "peak with weights": ("MB", lambda m: (m.peak_total or 0) / 1e6),
    "visual tokens at prefill": ("", lambda m: m.visual),
}
OF_WHOLE = tuple(stage for stage in STAGES if stage not in ("decode", "peak with weights"))
OF_LANGUAGE = (
    "loading",
    "prefill",
    "TPOT",
    "bandwidth",
    "end to end",
    PEAK,
    "visual tokens at prefill",
)
OF_GPU_SPEED = (
    "loading",
    "processor",
    "vision",
    "prefill",
    "TTFT",
    "TPOT",
    "decode",
    "bandwidth",
    "end to end",
    "visual tokens at prefill",
)
OF_GPU_MEMORY = (PEAK, "peak with weights", "visual tokens at prefill")
OF_RULES = ("vision", "prefill", "TPOT", "end to end", "visual tokens at prefill")
OF_PRUNING = ("loading", "TPOT", "bandwidth", "visual tokens at prefill")
OF_PART = {"whole": OF_WHOLE, "language": OF_LANGUAGE, "pruning": OF_PRUNING, "rules": OF_RULES}
"""Columns of the tables of a part, as heats name it."""
# More is better, or nothing is: no ratio.
BARE = ("processor", "bandwidth", "visual tokens at prefill")


def page(about: Heat, stages: Sequence[str], heats: Mapping[int, Rounds]) -> str:
    """A table for each number of frames, and how they were measured.

    Args:
        about: one of the heats.
    """
    tables, few = [], {}
    alone = ", language model alone" if about.part == "language" else ""
    for count, heat in heats.items():
        rounds = max(map(len, heat.values()))
        counted = f"{rounds} runs" if rounds > 1 else "1 run"
        tables.append(table(f"{count} frames{alone}, {counted}", heat, stages))
        few |= {name: None for name, found in heat.items() if len(found) < rounds}
    once = f" (1 run of {'; '.join(few)})" if few else ""
    weights = "random" if about.model in published_names() else "its own"
    said = (
        f"`{about.model}`, {weights} weights in {about.dtype}, {about.tokens} new tokens, "
        f"medians, configurations interleaved in one process{once}. {about.where}"
    )
    return "\n\n".join([*tables, said])


def table(title: str, rounds: Rounds, stages: Sequence[str]) -> str:
    """One table."""
    if any(one.peak is None for measured in rounds.values() for one in measured):
        stages = [stage for stage in stages if stage != PEAK]
    units = {stage: STAGES[stage][0] for stage in stages}
    heads = [f"{stage}, {unit}" if unit else stage for stage, unit in units.items()]
    lines = head(title, *heads)
    first = next(iter(rounds.values()))
    for name, measured in rounds.items():
        cells = [
            _cell(stage, median(measured, figure), median(first, figure))
            for stage in stages
            for _, figure in [STAGES[stage]]
        ]
        lines.append(line(name, *cells))
    return "\n".join(lines)


def median(rounds: Sequence[Measured], figure: Figure) -> float:
    """Of one figure over the rounds."""
    return statistics.median(map(figure, rounds))


def _cell(stage: str, value: float, first: float) -> str:
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    text = f"{value:,.{digits}f}"
    if stage in BARE or value == first or not value:
        return text
    if stage.startswith("peak"):
        return f"{text} ({value / first:.0%})" if first else text
    return f"{text} ({first / value:.1f}x)"

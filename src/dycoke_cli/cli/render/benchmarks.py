"""The list of `dycoke eval --list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import count, size

if TYPE_CHECKING:
    from dycoke_cli.cli.benchmark_documents import Benchmark, BenchmarkList


def benchmarks(listed: BenchmarkList) -> Table:
    """A benchmark after the other, its name in front."""
    table = Table.grid(padding=(0, 2, 1, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for each in listed.benchmarks:
        table.add_row(each.name, Text("\n".join(_lines(each))))
    for preset in listed.presets:
        told = [
            f"Preset: {' and '.join(f'“{row}”' for row in preset.rows)} of {preset.paper}.",
            f"--model {preset.model} --frames {preset.frames} --methods {preset.methods}",
        ]
        table.add_row(preset.name, Text("\n".join(told)))
    return table


def _lines(each: Benchmark) -> list[str]:
    large = "" if each.bytes is None else f", about {size(each.bytes)}"
    lines = [
        each.title,
        f"{count(each.questions)} questions about {count(each.videos)} videos{large}; "
        f"{' and '.join(each.splits)} split; metric: {each.metric}",
    ]
    if each.needs:
        lines.append(f"Needs --data with {each.needs}.")
    if each.tasks:
        lines.append(f"Tasks by themselves: {', '.join(each.tasks)}.")
    if each.presets:
        lines.append(f"Presets of published rows: {', '.join(each.presets)}.")
    lines.append(f"Source: {each.source}")
    return lines

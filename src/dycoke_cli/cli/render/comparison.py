"""The answers with and without compression, side by side."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import count, flops, seconds, share, size
from dycoke_cli.cli.text import one_line


def comparison(compressed: dict[str, Any], uncompressed: dict[str, Any]) -> Table:
    """Both answers, and how much of each cost is left."""
    table = Table(title=Text("With and without compression"), title_justify="left")
    table.add_column("")
    table.add_column(Text(one_line(compressed["method"]["name"])), ratio=1)
    table.add_column("baseline", ratio=1)
    table.add_column("ratio", justify="right", no_wrap=True)
    same = compressed["answer"] == uncompressed["answer"]
    table.add_row(
        "Answer",
        Text(one_line(compressed["answer"])),
        Text(one_line(uncompressed["answer"])),
        "identical" if same else "differs",
    )
    for name, path, unit in (
        ("Visual tokens at prefill", ("tokens", "visual_kept"), count),
        ("Visual tokens attended per step", ("tokens", "visual_read_per_step"), count),
        ("Prefill", ("seconds", "prefill"), seconds),
        ("Decode", ("seconds", "decode"), seconds),
        ("KV cache in use", ("bytes", "kv_active"), size),
        ("KV cache held", ("bytes", "kv_cache"), size),
    ):
        table.add_row(name, *_cells(_at(compressed, path), _at(uncompressed, path), unit))
    table.add_row(
        "LLM FLOPs (paper's formula)",
        *_cells(_total_flops(compressed), _total_flops(uncompressed), flops),
    )
    table.caption = Text(
        "The first of the two pays for warming up: ask twice (-q … -q …) to compare times."
    )
    table.caption_justify = "left"
    return table


def _cells(left: float | None, right: float | None, unit: Any) -> tuple[str, str, str]:
    if left is None or right is None:
        return "–", "–", "–"
    return unit(left), unit(right), share(left, right)


def _at(document: dict[str, Any], path: tuple[str, str]) -> float | None:
    value: float | None = document[path[0]][path[1]]
    return round(value, 1) if isinstance(value, float) and path[0] == "tokens" else value


def _total_flops(document: dict[str, Any]) -> float:
    used: float = document["flops"]["prefill"] + document["flops"]["decode"]
    return used

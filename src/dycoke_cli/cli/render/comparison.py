"""The compressed and the uncompressed answer, side by side."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import count, flops, seconds, share, size
from dycoke_cli.cli.text import one_line


def comparison(compressed: dict[str, Any], uncompressed: dict[str, Any]) -> Table:
    """Both answers, and how much of each cost is left."""
    table = Table(title=Text("Compressed and uncompressed"), title_justify="left")
    table.add_column("")
    table.add_column(Text(one_line(compressed["method"]["name"])), ratio=1)
    table.add_column("uncompressed", ratio=1)
    table.add_column("left", justify="right", no_wrap=True)
    same = compressed["answer"] == uncompressed["answer"]
    table.add_row(
        "Answer",
        Text(one_line(compressed["answer"])),
        Text(one_line(uncompressed["answer"])),
        "the same" if same else "differs",
    )
    for name, path, unit in (
        ("Tokens of the video read", ("tokens", "visual_kept"), count),
        ("Read again at each step", ("tokens", "visual_active_in_decode"), count),
        ("Prefill", ("seconds", "prefill"), seconds),
        ("Decode", ("seconds", "decode"), seconds),
        ("KV cache in use", ("bytes", "kv_active"), size),
        ("KV cache held", ("bytes", "kv_cache"), size),
    ):
        table.add_row(name, *_cells(_at(compressed, path), _at(uncompressed, path), unit))
    table.add_row(
        "Paper FLOPs", *_cells(_total_flops(compressed), _total_flops(uncompressed), flops)
    )
    table.caption = Text(
        "The first of the two pays for warming up: ask twice (-q … -q …) to compare times."
    )
    table.caption_justify = "left"
    return table


def _cells(left: float, right: float, unit: Any) -> tuple[str, str, str]:
    return unit(left), unit(right), share(left, right)


def _at(document: dict[str, Any], path: tuple[str, str]) -> float:
    value: float = document[path[0]][path[1]]
    return round(value, 1) if path[1] == "visual_active_in_decode" else value


def _total_flops(document: dict[str, Any]) -> float:
    used: float = document["flops"]["prefill"] + document["flops"]["decode"]
    return used

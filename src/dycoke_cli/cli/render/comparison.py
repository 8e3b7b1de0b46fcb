"""The answers with and without compression, side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import Quantity, column, count, flops, seconds, share, size
from dycoke_cli.cli.text import one_line
from dycoke_cli.result import Answer


def _read_per_step(answer: Answer) -> float | None:
    read = answer.tokens.visual_read_per_step
    return None if read is None else round(read, 1)


def _total_flops(answer: Answer) -> float:
    return answer.flops.prefill + answer.flops.decode


_FIGURES: tuple[
    tuple[str, Callable[[Answer], float | None], Callable[[Any], str | Quantity]], ...
] = (
    ("Visual tokens at prefill", lambda answer: answer.tokens.visual_kept, count),
    ("Visual tokens attended per step", _read_per_step, count),
    ("Prefill", lambda answer: answer.seconds.prefill, partial(Quantity, shown=seconds)),
    ("Decode", lambda answer: answer.seconds.decode, partial(Quantity, shown=seconds)),
    ("KV cache in use", lambda answer: answer.bytes.kv_active, partial(Quantity, shown=size)),
    ("KV cache held", lambda answer: answer.bytes.kv_cache, partial(Quantity, shown=size)),
    ("LLM FLOPs (paper's formula)", _total_flops, partial(Quantity, shown=flops)),
)


def comparison(compressed: Answer, uncompressed: Answer) -> Table:
    """Both answers, and how much of each cost is left."""
    table = Table(title=Text("With and without compression"), title_justify="left")
    table.add_column("")
    table.add_column(Text(one_line(compressed.method["name"])), ratio=1)
    table.add_column("baseline", ratio=1)
    table.add_column("ratio", justify="right", no_wrap=True)
    same = compressed.answer == uncompressed.answer
    table.add_row(
        "Answer",
        Text(one_line(compressed.answer)),
        Text(one_line(uncompressed.answer)),
        "identical" if same else "differs",
    )
    for name, value, unit in _FIGURES:
        table.add_row(name, *_cells(value(compressed), value(uncompressed), unit))
    table.caption = Text("A short run that isn't measured came first, so that the times compare.")
    table.caption_justify = "left"
    return table


def _cells(left: float | None, right: float | None, unit: Any) -> list[str]:
    if left is None or right is None:
        return ["–", "–", "–"]
    return [*column([unit(left), unit(right)]), share(left, right)]

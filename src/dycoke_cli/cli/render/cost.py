"""The table of `--estimate`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import Quantity, column, count, flops, share, size
from dycoke_cli.cli.text import one_line
from dycoke_cli.compression.registry import restore

if TYPE_CHECKING:
    from dycoke_cli.engine.cost import Cost

_FITS = {
    "gpu": "fits the GPU",
    "ram": "fits main memory",
    "no": "doesn't fit the memory that is free",
    None: "free memory isn't known",
}


def cost(estimated: Cost) -> Group:
    """What an answer would cost, without compression and with it."""
    tokens, held, used = estimated.tokens, estimated.bytes, estimated.flops
    method = restore(estimated.method)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    parameters = " ".join(method.symbols(tokens.visual_kept))
    table.add_row("", "baseline", method.title, "ratio")
    for name, plain, compressed, shown in (
        ("Visual tokens at prefill", tokens.visual, tokens.visual_kept, count),
        ("Visual tokens attended per step", tokens.visual, tokens.visual_read_per_step, count),
        ("KV cache", held.kv_cache_uncompressed, held.kv_cache, partial(Quantity, shown=size)),
        (
            "Peak memory, weights included",
            held.peak_uncompressed,
            held.peak,
            partial(Quantity, shown=size),
        ),
        (
            "Prefill FLOPs of visual tokens",
            used.prefill_uncompressed,
            used.prefill,
            partial(Quantity, shown=flops),
        ),
        (
            "Decode FLOPs of visual tokens",
            used.decode_uncompressed,
            used.decode,
            partial(Quantity, shown=flops),
        ),
    ):
        ratio = share(compressed, plain)
        table.add_row(name, *column([shown(plain), shown(round(compressed))]), ratio)
    frames = f"{count(tokens.frames)} × {count(tokens.per_frame)} visual tokens"
    title = f"{one_line(estimated.model)}, {estimated.dtype}: weights {size(held.weights)}"
    return Group(
        Text(f"{title}; {frames}", style="bold"),
        table,
        Text(
            f"{method.title} {parameters}".rstrip() + f"; {_FITS[estimated.fits]}. FLOPs by the "
            f"paper's formula, of the language model, decode of {count(estimated.max_new_tokens)} "
            f"tokens; memory assumes {count(tokens.text)} text tokens.",
            style="dim",
        ),
    )

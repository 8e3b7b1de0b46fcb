"""The table of `--estimate`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.units import Quantity, column, count, flops, seconds, share, size
from dycoke_cli.cli.text import one_line
from dycoke_cli.compression.registry import restore

if TYPE_CHECKING:
    from dycoke_cli.engine.memory.cost import Cost

_SIZE, _FLOPS, _SECONDS = (partial(Quantity, shown=unit) for unit in (size, flops, seconds))
_DEVICES = {"cuda": "GPU", "mps": "GPU (MPS)", "cpu": "CPU"}


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
    rows: list[tuple[str, float, float, Callable[[float], str | Quantity]]] = [
        ("Visual tokens at prefill", tokens.visual, tokens.visual_kept, count),
        ("Visual tokens attended per step", tokens.visual, tokens.visual_read_per_step, count),
        ("KV cache", held.kv_cache_uncompressed, held.kv_cache, _SIZE),
        ("Peak memory, weights included", held.peak_uncompressed, held.peak, _SIZE),
        ("Prefill FLOPs of visual tokens", used.prefill_uncompressed, used.prefill, _FLOPS),
        ("Decode FLOPs of visual tokens", used.decode_uncompressed, used.decode, _FLOPS),
    ]
    before, after = estimated.seconds_uncompressed, estimated.seconds
    if before is not None and after is not None:
        if before.total is not None and after.total is not None:
            rows.append(("Vision, prefill and decode", before.total, after.total, _SECONDS))
        elif before.answering is not None and after.answering is not None:
            rows.append(("Prefill and decode", before.answering, after.answering, _SECONDS))
    for name, plain, compressed, shown in rows:
        cells = column([shown(plain), shown(round(compressed) if shown == count else compressed)])
        table.add_row(name, *cells, share(compressed, plain))
    frames = f"{count(tokens.frames)} × {count(tokens.per_frame)} visual tokens"
    title = (
        f"{one_line(estimated.model)}, {estimated.dtype}, {_DEVICES[estimated.device]}: weights "
        f"{size(held.weights)}"
    )
    notes = (
        f"{method.title} {parameters}".rstrip() + ". FLOPs by the paper's formula, of the language "
        f"model, decode of {count(estimated.max_new_tokens)} tokens; memory and context with "
        f"{count(tokens.text)} text tokens."
    )
    if after is not None:
        notes += " Time from this machine's measured kernels, without loading."
    return Group(
        Text(f"{title}; {frames}", style="bold"),
        table,
        Text(_verdict(estimated)),
        Text(notes, style="dim"),
    )


def _verdict(estimated: Cost) -> str:
    """Whether it fits memory and context, and what would."""
    context, wrong = estimated.context, []
    if not context.fits:
        wrong.append(
            f"{count(context.needed)} tokens are longer than the model's context of "
            f"{count(context.length or 0)}"
        )
    if estimated.fits == "no":
        assert estimated.free is not None, "else it isn't known"
        wrong.append(f"{size(estimated.bytes.peak)} don't fit the {size(estimated.free)} of memory")
    if wrong:
        ways = " or ".join(estimated.would_fit)
        return f"Doesn't fit: {', and '.join(wrong)}" + (f"; {ways} would." if ways else ".")
    if estimated.fits is None:
        return "How much memory the device has isn't known: --memory 8GB says it."
    where = "the GPU" if estimated.fits == "gpu" else "main memory"
    own = (estimated.fits == "gpu") == (estimated.device != "cpu")
    free = f" ({size(estimated.free)})" if own and estimated.free is not None else ""
    way = "" if own else ", not the GPU: add --device cpu"
    return f"Fits {where}{free}{way}."

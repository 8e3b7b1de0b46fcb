"""Times the attention of one decoding step: to all visual tokens, and to each layer's selection.

`python -m benchmarks.decode_attention` goes through the KV cache and the kernels of the package
with random keys, for the language models of LLaVA-OneVision 0.5B and 7B, in bfloat16. Copies and
index included, nothing else: it says from how many visual tokens on `--prune-from auto` prunes with
`dycoke-plus`. Configurations take turns, and the fastest step counts: others disturb the rest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import typer

from benchmarks.page import ROOT, put, where
from dycoke_cli import DyCokePlus
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.kv_cache.indexed import IndexedStore
from dycoke_cli.kernels.attention import decode_attention

PAGE = ROOT / "docs" / "speed.md"
TEXT = 64
RATIOS = (0.7, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Model:
    """The sizes of a language model's attention.

    Args:
        layers: how many.
        heads: of queries.
        kv_heads: of keys and values.
        width: of a head.
    """

    layers: int
    heads: int
    kv_heads: int
    width: int


MODELS = {"0.5B": Model(24, 14, 2, 64), "7B": Model(28, 28, 4, 128)}


def store_of(model: Model, visual: int, method: DyCokePlus | None) -> KVStore:
    """A cache with a prompt of so many visual tokens and `TEXT` others; None attends to all."""
    pruning = None if method is None else method.pruning()
    length = visual + TEXT
    sizes = {
        "layers": model.layers,
        "paddings": [0],
        "visual": [torch.arange(TEXT // 2, TEXT // 2 + visual)],
        "length": length,
        "uncompressed_length": length,
    }
    store = KVStore(**sizes)
    if method is not None and pruning is not None and pruning.own is not None:
        counts = [method.attended_tokens(visual)]
        store = IndexedStore(
            selector=pruning.own, counts=counts, first_pruned=pruning.layer, **sizes
        )
    prompt = torch.randn(1, model.kv_heads, length, model.width).bfloat16()
    for layer in range(model.layers):
        store.update(prompt, prompt, layer)
    return store


@torch.inference_mode()
def step_seconds(model: Model, store: KVStore) -> float:
    """What the attention of all layers takes in one decoding step."""
    query = torch.randn(1, model.heads, 1, model.width).bfloat16()
    new = torch.randn(1, model.kv_heads, 1, model.width).bfloat16()
    scaling = model.width**-0.5
    started = time.perf_counter()
    store.begin_step()
    for layer in range(model.layers):
        key, value = store.update(new, new, layer)
        key, value, mask = store.attended(layer, query, key, value, scaling)
        decode_attention(query, key, value, scaling, mask)
    return time.perf_counter() - started


@torch.inference_mode()
def measured(model: Model, visual: int, steps: int) -> dict[str, float]:
    """Milliseconds of the fastest step, by configuration."""
    methods: dict[str, DyCokePlus | None] = {"all tokens": None}
    methods |= {f"P={ratio:g}": DyCokePlus(prune_ratio=ratio, prune_from=0) for ratio in RATIOS}
    methods["P=0.9, per head"] = DyCokePlus(prune_ratio=0.9, prune_from=0, per_head=True)
    stores = {name: store_of(model, visual, method) for name, method in methods.items()}
    taken: dict[str, list[float]] = {name: [] for name in stores}
    for number in range(steps + 2):
        for name, store in stores.items():
            seconds = step_seconds(model, store)
            if number >= 2:  # the first ones warm up
                taken[name].append(1000 * seconds)
    return {name: min(times) for name, times in taken.items()}


def table(rows: Sequence[tuple[str, int, int, dict[str, float]]]) -> str:
    """A table of milliseconds, each with its gain over attention to all tokens."""
    names = [*rows[0][3]]
    lines = [
        f"| model | threads | visual tokens | {' | '.join(f'{name}, ms' for name in names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for model, threads, visual, times in rows:
        base = times[names[0]]
        cells = [f"{base:.1f}", *(f"{times[n]:.1f} ({base / times[n]:.1f}x)" for n in names[1:])]
        lines.append(f"| {model} | {threads} | {visual:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    visual: Annotated[list[int] | None, typer.Option(help="Visual tokens; repeat it.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Repeat it.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 21,
    write: Annotated[bool, typer.Option("--write", help="Into docs/speed.md.")] = False,
) -> None:
    """Measure, and print the table."""
    rows = []
    for name, model in MODELS.items():
        for cores in threads or (1, 2):
            torch.set_num_threads(cores)
            for count in visual or (500, 1000, 1480, 2960, 6272, 12544):
                rows.append((name, cores, count, measured(model, count, steps)))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    found = f"{table(rows)}\n\nRandom keys, bfloat16, fastest of {steps} steps. {where()}"
    if write:
        put(found, "decode attention", PAGE)
    else:
        print(found)


if __name__ == "__main__":
    typer.run(main)

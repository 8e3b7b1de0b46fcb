"""Times the attention of one decoding step: to all visual tokens, and to each layer's selection.

`python -m benchmarks.decode_attention` goes through the KV cache and the kernels of the package
with random keys, for the language models of LLaVA-OneVision 0.5B and 7B, in bfloat16. Copies and
index included, nothing else: what `--prune-from auto` measures (`engine/break_even.py`), at more
sizes. Configurations take turns, and the fastest step counts: others disturb the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import torch
import typer

from benchmarks.page import ROOT, put, where
from dycoke_cli import DyCokePlus
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.break_even import PRUNED, TimedStep
from dycoke_cli.kernels.attention_interface import NAME
from dycoke_cli.kernels.processor import STOCK_KERNEL
from dycoke_cli.models.traits import DecodeAttention

PAGE = ROOT / "docs" / "speed.md"
RATIOS = (0.7, 0.85, 0.9, 0.95)


MODELS = {
    "0.5B": DecodeAttention(24, 14, 2, 64, "bfloat16", "cpu", NAME),
    "7B": DecodeAttention(28, 28, 4, 128, "bfloat16", "cpu", NAME),
}


@torch.inference_mode()
def measured(model: DecodeAttention, visual: int, steps: int) -> dict[str, float]:
    """Milliseconds of the fastest step, by configuration."""
    methods = {f"P={ratio:g}": DyCokePlus(prune_ratio=ratio, prune_from=0) for ratio in RATIOS}
    methods["P=0.9, per head"] = DyCokePlus(prune_ratio=0.9, prune_from=0, per_head=True)
    runs: dict[str, Callable[[], object]] = {}
    for name, method in methods.items():
        bound = BoundMethod(replace(method, prune_layer=0))
        step = TimedStep(model, bound, visual)
        kernels = step.kernels(quantized=False)
        runs.setdefault("all tokens", kernels[STOCK_KERNEL])
        runs[name] = kernels[PRUNED]
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(steps + 2):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number >= 2:  # the first ones warm up
                seconds = time.perf_counter() - started
                taken[name].append(1000 * seconds * model.layers / step.layers)
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

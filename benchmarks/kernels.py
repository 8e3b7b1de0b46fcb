"""Times the kernels for linear layers and attention on this processor, and how far int8 is off.

`python -m benchmarks.kernels --write` writes the tables of this machine into docs/data/tables:
layers of SigLIP so400m (a frame of 729 tokens) and of Qwen2 0.5B (a prompt of
1,024 tokens, and a single one, whose weights come from memory as in a decoding step), stock and
packed in bfloat16, and in 8 bits by FBGEMM and by oneDNN; attention by SDPA and by ours. Kernels
take turns in one process. With one thread the process's own time is taken, in which it doesn't wait
for other processes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Annotated

import torch
import typer
from torch import nn

from benchmarks.kept_tables import keep, name_here
from benchmarks.page import where
from dycoke_cli.instruction_sets import instructions
from dycoke_cli.kernels import replacing as timing
from dycoke_cli.kernels.attention import BIDIRECTIONAL, CAUSAL, DECODE
from dycoke_cli.kernels.int8_linear import int8_kernels
from dycoke_cli.kernels.replacing import AttentionShape, LinearShape

FRAME, PROMPT = 729, 1024
COPIES = 12
"""Layers that a single token goes through in turn: more than the CPU cache holds of the large."""
LINEAR = {
    "SigLIP q, k, v, out": (FRAME, 1152, 1152),
    "SigLIP fc1": (FRAME, 1152, 4304),
    "SigLIP fc2": (FRAME, 4304, 1152),
    "Qwen2 q, o": (PROMPT, 896, 896),
    "Qwen2 k, v": (PROMPT, 896, 128),
    "Qwen2 gate, up": (PROMPT, 896, 4864),
    "Qwen2 down": (PROMPT, 4864, 896),
    "Qwen2 q, o, one token": (1, 896, 896),
    "Qwen2 k, v, one token": (1, 896, 128),
    "Qwen2 gate, up, one token": (1, 896, 4864),
    "Qwen2 down, one token": (1, 4864, 896),
}
ATTENTION = {
    "SigLIP frame": (BIDIRECTIONAL, FRAME, 16, 16, 72),
    "Qwen2 prompt": (CAUSAL, PROMPT, 14, 2, 64),
    "Qwen2 one token": (DECODE, 3000, 14, 2, 64),
}


def in_turns(kernels: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median milliseconds by kernel; the order of each round is drawn."""
    taken: dict[str, list[float]] = {name: [] for name in kernels}
    names, drawn = [*kernels], random.Random(0)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for number in range(-1, runs):  # the first one warms up
        drawn.shuffle(names)
        for name in names:
            begun = clock()
            kernels[name]()
            if number >= 0:
                taken[name].append(clock() - begun)
    return {name: 1000 * median(times) for name, times in taken.items()}


@torch.inference_mode()
def linear(tokens: int, inputs: int, outputs: int, runs: int) -> dict[str, float]:
    """Milliseconds of a layer by kernel."""
    shape = LinearShape(inputs, outputs, tokens, "bfloat16")
    layers = [shape.kernels(True) for _ in range(COPIES if tokens == 1 else 1)]

    def all_of(name: str) -> Callable[[], object]:
        return lambda: [layer[name]() for layer in layers]

    found = in_turns({name: all_of(name) for name in layers[0]}, runs)
    return {name: taken / len(layers) for name, taken in found.items()}


@torch.inference_mode()
def attention(
    shape: str, tokens: int, heads: int, kv_heads: int, width: int, runs: int
) -> dict[str, float]:
    """Milliseconds of attention by kernel."""
    timing.ATTENDED[shape] = tokens
    return in_turns(AttentionShape(shape, heads, kv_heads, width, "bfloat16").kernels(True), runs)


@torch.inference_mode()
def errors() -> dict[str, tuple[float, float]]:
    """Relative error of the kernels in 8 bits: of ordinary tokens, and of those with outliers."""
    torch.manual_seed(0)
    layer, tokens = nn.Linear(1152, 4304), torch.randn(256, 1152)
    outliers = tokens.clone()
    outliers[:, 7] -= 50
    return {
        name: (_error(kind(layer), layer, tokens), _error(kind(layer), layer, outliers))
        for name, kind in int8_kernels().items()
    }


def _error(made: nn.Module, layer: nn.Linear, tokens: torch.Tensor) -> float:
    exact = nn.functional.linear(tokens.double(), layer.weight.double(), layer.bias.double())
    return float((made(tokens) - exact).norm() / exact.norm())


def table(first: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """A row per shape, a column per kernel; how many times as fast as stock behind the others."""
    names = [*dict.fromkeys(name for row in rows.values() for name in row)]
    lines = [f"| {first}, ms | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for shape, row in rows.items():
        cells = [
            f"{row[name]:.3g}" + ("" if name == "stock" else f" ({row['stock'] / row[name]:.1f}x)")
            for name in names
        ]
        lines.append(f"| {shape} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    runs: Annotated[int, typer.Option(min=1, help="Rounds; medians count.")] = 11,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    write: Annotated[bool, typer.Option("--write", help="Into docs/data/tables.")] = False,
) -> None:
    """Measure, and print the tables."""
    torch.set_num_threads(threads)
    layers = {
        f"{name} ({inputs} to {outputs})": linear(tokens, inputs, outputs, runs)
        for name, (tokens, inputs, outputs) in LINEAR.items()
    }
    attended = {name: attention(*sizes, runs) for name, sizes in ATTENTION.items()}
    off = "; ".join(
        f"{name} {plain:.2%}, with an outlier in each token {outliers:.2%}"
        for name, (plain, outliers) in errors().items()
    )
    used = ", ".join(instructions()) or "unknown"
    cores = f"{threads} threads" if threads > 1 else "1 thread (processor time)"
    found = (
        f"{table('layer', layers)}\n\n{table('attention', attended)}\n\n"
        f"Relative error in 8 bits: {off}. bfloat16, medians of {runs} rounds, {cores}, "
        f"torch {torch.__version__}, {used}. {where()}"
    )
    print(found)
    if write:
        keep(found, name_here("kernels"))


if __name__ == "__main__":
    typer.run(main)

"""Times of the kernels for one shape: all of them in turns, on random numbers, medians."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import SimpleNamespace

import torch
from torch import nn

from dycoke_cli.kernels.attention_interface import BIDIRECTIONAL, CAUSAL, DECODE, attention
from dycoke_cli.kernels.int8_linear import int8_kernels
from dycoke_cli.kernels.linear import Bfloat16Linear, can_pack
from dycoke_cli.kernels.processor import STOCK_KERNEL

OWN, PACKED = "own", "packed"
ROUNDS, FEWEST_ROUNDS = 7, 3
LONGEST_S = 0.3
"""After so long no further round of a shape begins, but for the fewest."""
PROMPT_TOKENS = 128
"""Tokens of the product that is timed for prompts and frames."""
MOST_INPUTS, MOST_OUTPUTS = 2048, 1024
"""Larger layers are timed as one of these: per number, they take about as long."""
ATTENDED = {CAUSAL: 512, DECODE: 2048, BIDIRECTIONAL: 512}
"""Keys in each shape of attention; as many queries, but in `DECODE`."""
STREAMED = 8192, 4096
"""Inputs and outputs of a layer that no cache holds: its weights come from memory each time."""
TINY = 64, 64
"""Those of a layer that takes no longer than it takes to call it."""

Kernels = Mapping[str, Callable[[], object]]


@dataclass(frozen=True, order=True)
class LinearShape:
    """A linear layer, and how many tokens go through it.

    Args:
        inputs: of the layer.
        outputs: of the layer.
        tokens: `PROMPT_TOKENS` or 1.
        dtype: of its weights, such as "bfloat16".
    """

    inputs: int
    outputs: int
    tokens: int
    dtype: str

    def __str__(self) -> str:
        return f"linear {self.inputs}x{self.outputs}, {self.tokens} tokens, {self.dtype}"

    def kernels(self, quantized: bool) -> Kernels:
        """Every kernel with weights of its own.

        Args:
            quantized: whether those in 8 bits are among them.
        """
        dtype = getattr(torch, self.dtype)
        # What the weights are makes no difference, and drawing them would take longer.
        layer = nn.utils.skip_init(nn.Linear, self.inputs, self.outputs, dtype=dtype)
        nn.init.constant_(layer.weight, 0.01)
        nn.init.constant_(layer.bias, 0.01)
        found: dict[str, nn.Module] = {STOCK_KERNEL: layer}
        if dtype == torch.bfloat16 and can_pack():
            found[PACKED] = Bfloat16Linear(layer)
        if quantized:
            found |= {name: kind(layer) for name, kind in int8_kernels().items()}
        tokens = torch.randn(self.tokens, self.inputs, dtype=dtype)
        return {name: partial(module, tokens) for name, module in found.items()}


@dataclass(frozen=True, order=True)
class AttentionShape:
    """Attention of one layer.

    Args:
        shape: of `attention_interface.SHAPES`.
        heads: of queries.
        kv_heads: of keys and values.
        width: of a head.
        dtype: such as "bfloat16".
    """

    shape: str
    heads: int
    kv_heads: int
    width: int
    dtype: str

    def __str__(self) -> str:
        heads = f"{self.heads}/{self.kv_heads} heads of {self.width}"
        return f"attention, {self.shape}, {heads}, {self.dtype}"

    def kernels(self, quantized: bool) -> Kernels:
        """Stock SDPA and ours, as a model would call them.

        Args:
            quantized: makes no difference.
        """
        layer = SimpleNamespace(
            is_causal=self.shape != BIDIRECTIONAL,
            num_key_value_groups=self.heads // self.kv_heads,
        )
        keys = ATTENDED[self.shape]
        queries = 1 if self.shape == DECODE else keys
        dtype = getattr(torch, self.dtype)
        # As projections leave them: the heads of a token side by side.
        query, key, value = (
            torch.randn(1, tokens, heads, self.width, dtype=dtype).transpose(1, 2)
            for tokens, heads in (
                (queries, self.heads), (keys, self.kv_heads), (keys, self.kv_heads)
            )
        )  # fmt: skip

        def run(own: frozenset[str]) -> object:
            return attention(layer, query, key, value, None, own=own)

        return {STOCK_KERNEL: lambda: run(frozenset()), OWN: lambda: run(frozenset({self.shape}))}


Shape = LinearShape | AttentionShape


@torch.inference_mode()
def time_kernels(shape: Shape, quantized: bool, until: float = math.inf) -> dict[str, float]:
    """Milliseconds by kernel: medians of rounds, each of which begins with the next kernel.

    Args:
        shape: what is timed.
        quantized: whether linear layers in 8 bits are timed, too.
        until: when to give up, by `time.perf_counter`.

    Returns:
        Nothing where there was no time for `FEWEST_ROUNDS`.
    """
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):  # what is drawn at random later stays the same
        kernels = shape.kernels(quantized)
    names = [*kernels]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, ROUNDS):  # the first one warms up
        if number >= FEWEST_ROUNDS and time.perf_counter() > min(until, started + LONGEST_S):
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            begun = time.perf_counter()
            if begun > until and number < FEWEST_ROUNDS:
                return {}
            kernels[name]()
            if number >= 0:
                taken[name].append(time.perf_counter() - begun)
    return {name: 1000 * median(times) for name, times in taken.items()}

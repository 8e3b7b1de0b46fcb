"""Timing of kernels for one shape, on random inputs: medians over alternating runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Protocol

import torch
from torch import nn

from dycoke_cli.kernels.attention_interface import BIDIRECTIONAL, CAUSAL, DECODE, attention
from dycoke_cli.kernels.int8_linear import int8_kernels
from dycoke_cli.kernels.linear import Bfloat16Linear, can_pack
from dycoke_cli.kernels.processor import STOCK_KERNEL

# "own" is in the cache files of earlier versions.
CUSTOM, PACKED = "own", "packed"
ROUNDS, FEWEST_ROUNDS = 7, 3
LONGEST_S = 0.3
"""Time limit per shape, after which no round starts unless there are fewer than `FEWEST_ROUNDS`."""
PROMPT_TOKENS = 128
"""Tokens in the timed product for prompts and frames."""
MOST_INPUTS, MOST_OUTPUTS = 2048, 1024
"""Size limit of timed layers; the time per weight of larger ones is about the same."""
ATTENDED = {CAUSAL: 512, DECODE: 2048, BIDIRECTIONAL: 512}
"""Keys per attention shape; as many queries, except in `DECODE`."""
STREAMED = 8192, 4096
"""Inputs and outputs of a layer larger than any CPU cache: its weights come from main memory."""
TINY = 64, 64
"""Inputs and outputs of a layer whose time is the overhead of the call."""

Kernels = Mapping[str, Callable[[], object]]


@dataclass(frozen=True, order=True)
class LinearShape:
    """Linear layer with a number of tokens."""

    inputs: int  # of the layer
    outputs: int  # of the layer
    tokens: int  # `PROMPT_TOKENS` or 1
    dtype: str  # of its weights, such as "bfloat16"

    def __str__(self) -> str:
        return f"linear {self.inputs}x{self.outputs}, {self.tokens} tokens, {self.dtype}"

    def kernels(self, quantized: bool) -> Kernels:
        """Callables that run each kernel, every one on weights of its own.

        Args:
            quantized: whether to include int8 kernels.
        """
        dtype = getattr(torch, self.dtype)
        # Times don't depend on the weights, and generating random ones would take longer.
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
    """Attention of one layer."""

    shape: str  # one of `attention_interface.SHAPES`
    heads: int  # number of query heads
    kv_heads: int  # number of key and value heads
    width: int  # head size
    dtype: str  # such as "bfloat16"

    def __str__(self) -> str:
        heads = f"{self.heads}/{self.kv_heads} heads of {self.width}"
        return f"attention, {self.shape}, {heads}, {self.dtype}"

    def kernels(self, quantized: bool) -> Kernels:
        """Callables that run stock and custom attention, as a model would call them."""
        layer = SimpleNamespace(
            is_causal=self.shape != BIDIRECTIONAL,
            num_key_value_groups=self.heads // self.kv_heads,
        )
        keys = ATTENDED[self.shape]
        queries = 1 if self.shape == DECODE else keys
        dtype = getattr(torch, self.dtype)
        # The strides of projections, in whose output the heads of a token are contiguous.
        query, key, value = (
            torch.randn(1, tokens, heads, self.width, dtype=dtype).transpose(1, 2)
            for tokens, heads in (
                (queries, self.heads), (keys, self.kv_heads), (keys, self.kv_heads)
            )
        )  # fmt: skip

        def run(custom: frozenset[str]) -> object:
            return attention(layer, query, key, value, None, custom=custom)

        return {
            STOCK_KERNEL: lambda: run(frozenset()),
            CUSTOM: lambda: run(frozenset({self.shape})),
        }


class Shape(Protocol):
    """What is timed: its text is the key of cached times."""

    def kernels(self, quantized: bool) -> Kernels:
        """Callables that run each kernel; the stock one is among them."""
        ...


@torch.inference_mode()
def time_kernels(shape: Shape, quantized: bool, until: float = math.inf) -> dict[str, float]:
    """Milliseconds by kernel, as medians over rounds.

    Each round runs all kernels and starts with another one, so that changes of the clock frequency
    and the contents of the caches affect all alike.

    Args:
        quantized: whether to include int8 linear layers.
    """
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):  # sampling must not depend on whether this ran
        kernels = shape.kernels(quantized)
    names = [*kernels]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, ROUNDS):  # round -1 is a warm-up
        if number >= FEWEST_ROUNDS and time.perf_counter() > min(until, started + LONGEST_S):
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            begun = time.perf_counter()
            # Medians of fewer rounds would be noise, and stay in the cache.
            if begun > until and number < FEWEST_ROUNDS:
                return {}
            kernels[name]()
            if number >= 0:
                taken[name].append(time.perf_counter() - begun)
    return {name: 1000 * median(times) for name, times in taken.items()}


@torch.inference_mode()
def bfloat16_factor() -> float:
    """Time of a prompt's linear layer in bfloat16, as a multiple of its time in float32.

    The fastest kernel of each dtype counts, by the processor time of its fastest run, which other
    work on the machine hardly changes. Takes 0.2 s on a CPU that emulates bfloat16.
    """

    def fastest_s(dtype: str) -> float:
        shape = LinearShape(MOST_INPUTS, MOST_OUTPUTS, PROMPT_TOKENS, dtype)
        with torch.random.fork_rng(devices=[]):
            kernels = shape.kernels(quantized=False)
        return min(_processor_s(kernel) for kernel in kernels.values() for _ in range(3))

    return fastest_s("bfloat16") / fastest_s("float32")


def _processor_s(kernel: Callable[[], object]) -> float:
    begun = time.process_time()
    kernel()
    return time.process_time() - begun

"""Selection of CPU kernels for a model, by measured times.

The first load of a model times stock and custom kernels for its shapes, which takes less than three
seconds. The times are cached in a file per processor, torch release and number of threads. Defaults
(`unmeasured`) apply to small models, for which timing doesn't pay off, to shapes beyond the time
limit, and on overloaded machines.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from torch import nn

from dycoke_cli.instruction_sets import emulates_bfloat16, instructions
from dycoke_cli.kernels.attention import BIDIRECTIONAL, CAUSAL, DECODE, REGISTER, SHAPES
from dycoke_cli.kernels.int8_linear import (
    FBGEMM,
    ONEDNN,
    PAIRED,
    FbgemmInt8Linear,
    PairedInt8Linear,
    RoundedLinear,
    int8_kernels,
)
from dycoke_cli.kernels.processor import STOCK_KERNEL, Processor, Times
from dycoke_cli.kernels.replacing import (
    CUSTOM,
    MOST_FROM_MEMORY,
    MOST_INPUTS,
    MOST_OUTPUTS,
    PACKED,
    PROMPT_TOKENS,
    AttentionShape,
    LinearShape,
    Shape,
    eligible,
    may_pack,
    time_kernels,
    to_pack,
    to_round,
    tokens_timed,
)
from dycoke_cli.resources import is_overloaded, main_memory
from dycoke_cli.stock.sizes import Sizes

MIN_TIMED_WEIGHTS = 100_000_000
"""Minimum weights in linear layers: for smaller models, timing takes longer than it can save."""
LIMIT_S = 2.0
"""Time limit, after which no further shape is started; the last one takes less than a second."""
WAIT_S = 10.0
"""Maximum wait for another process that is measuring."""
# Typical answer, by which the times of prefill and decoding are weighted: prompt and new tokens.
_PROMPT, _GENERATED = 1024, 64
# How many times as fast FBGEMM has to be in such an answer. It packs at each start, a third of a
# GB/s, which takes as long as it saves in three answers with this lead (measured with a 0.5B).
_FBGEMM_LEAD = 1.1
# Largest share of main memory for the second copies of weights of a model with both int8 kernels.
_MOST_SECOND_COPIES = 1 / 16

INT8_IS_SLOWER = (
    "--quantize int8 is slower than weights as stored on this processor and saves only memory; "
    "drop it where the model fits without"
)

Part = Literal["vision", "decoder", "output"]
"""Of a model: the tower with its projector, the language model's layers, the output layer."""


@dataclass(frozen=True)
class KernelChoice:
    """Selected kernels of a model."""

    attention: frozenset[str]  # attention shapes that run on custom kernels
    packed: list[str]  # names of the layers to pack
    # class for each layer to quantize to 8 bits, by layer name
    int8: dict[str, type[RoundedLinear]] = field(default_factory=dict)
    # whether the quantized layers are slower than in the model's own dtype
    int8_is_slower: bool = False


def unmeasured(model: Any, quantized: bool) -> KernelChoice:
    """Default kernels, without measurement.

    With AMX (Intel, Sapphire Rapids and later) stock SDPA is 1.4 to 2 times as fast as custom
    attention, and 8-bit layers are slower than packed ones in bfloat16. Without bfloat16
    instructions SDPA is 2 to 20 times as fast for prompts and frames in bfloat16, but custom
    attention is faster for a single token.

    Args:
        quantized: whether its layers are quantized to 8 bits.
    """
    has = instructions()
    amx = "amx_bf16" in has
    emulated = model.dtype == torch.bfloat16 and emulates_bfloat16(has)
    kind = next(iter(int8_kernels().values()))
    return KernelChoice(
        attention=frozenset() if amx else frozenset([DECODE] if emulated else SHAPES),
        packed=to_pack(model),
        int8=dict.fromkeys(to_round(model), kind) if quantized else {},
        int8_is_slower=quantized and amx,
    )


def choose_kernels(model: Any, quantized: bool, *, measuring: bool = True) -> KernelChoice:
    """Select the kernels of a model, and time those that aren't timed yet.

    Cache files that can't be read or written are ignored.

    Args:
        quantized: whether its layers are quantized to 8 bits.
    """
    default = unmeasured(model, quantized)
    if model.device.type not in ("cpu", "meta"):
        return default
    layers = eligible(model)
    if sum(layer.weight.numel() for layer in layers.values()) < MIN_TIMED_WEIGHTS:
        return default
    attention = attention_shapes(model)
    parts = parts_of(model)
    linear = {
        name: linear_shapes(layer, parts[name])
        for name, layer in layers.items()
        if may_pack(layer) or (quantized and name in default.int8)
    }
    # The largest layers take most of the time, so they are timed before the limit is reached.
    largest = sorted(linear, key=lambda name: -layers[name].weight.numel())
    wanted: list[Shape] = [*attention, *(shape for name in largest for shape in linear[name])]
    # Most layers share a few shapes. A dict removes duplicates and keeps the order.
    shapes = dict.fromkeys(wanted)
    times = with_pairs(measured(shapes, quantized) if measuring else Processor.here().read())

    custom = set(default.attention)
    for shape in attention:
        if found := times.get(str(shape)):
            is_faster = fastest(found, (STOCK_KERNEL, CUSTOM)) == CUSTOM
            (custom.add if is_faster else custom.discard)(shape.shape)
    # Example: a layer of 0.1 ms per token and 2 ms per 128 tokens takes 64 · 0.1 + 8 · 2 = 22.4 ms
    # of a typical answer. A kernel may be slower at prefill and still win by decoding.
    totals = {
        name: _totals(layers[name].weight.numel(), shapes, times) for name, shapes in linear.items()
    }
    for kinds in (int8_classes(), int8_kernels()):
        int8_fastest = {name: fastest(_with_start(totals[name]), kinds) for name in default.int8}
        paired = [layers[name] for name, kernel in int8_fastest.items() if kernel == PAIRED]
        second = sum(map(FbgemmInt8Linear.nbytes_of, paired))
        # Of all memory, not of the free one: answers don't depend on what else runs on a machine.
        if second <= _MOST_SECOND_COPIES * (main_memory() or 0):
            break
    timed = {name: kernel for name, kernel in int8_fastest.items() if kernel is not None}
    return KernelChoice(
        attention=frozenset(custom),
        packed=[
            name
            for name, taken in totals.items()
            if (fastest(taken, (STOCK_KERNEL, PACKED)) or _default_kernel(name, default)) == PACKED
        ],
        int8={
            name: default.int8[name] if kernel is None else kinds[kernel]
            for name, kernel in int8_fastest.items()
        },
        int8_is_slower=sum(totals[name][kernel] for name, kernel in timed.items())
        > sum(min(totals[n][k] for k in (STOCK_KERNEL, PACKED) if k in totals[n]) for n in timed)
        if timed
        else default.int8_is_slower,
    )


def attention_shapes(model: Any) -> list[AttentionShape]:
    """Attention shapes of a model for which there is a custom kernel."""
    sizes, dtype = Sizes.of(model.config), dtype_name(model.dtype)
    found = [
        AttentionShape(shape, sizes.heads, sizes.kv_heads, sizes.head_width, dtype)
        for shape in (CAUSAL, DECODE)
    ]
    heads = sizes.vision.heads
    width = sizes.vision.hidden // heads if heads else 0
    if width % REGISTER:
        found.append(AttentionShape(BIDIRECTIONAL, heads, heads, width, dtype))
    return found


def parts_of(model: Any) -> dict[str, Part]:
    """The part of a model that each of its eligible linear layers belongs to, by name."""
    inside = {id(part) for part in model.get_decoder().modules()}
    output = model.get_output_embeddings()
    return {
        name: "output" if layer is output else "decoder" if id(layer) in inside else "vision"
        for name, layer in eligible(model).items()
    }


def linear_shapes(layer: nn.Linear, part: Part) -> list[LinearShape]:
    """Shapes to time for a layer: a prompt, a single token, or both.

    A vision tower never runs on a single token, and of a prompt the output layer gets the last one.
    """
    limits = []
    if part != "output":
        limits.append((PROMPT_TOKENS, MOST_INPUTS, MOST_OUTPUTS))
    if part != "vision":
        limits.append((1, MOST_FROM_MEMORY, MOST_FROM_MEMORY))
    inputs, outputs, dtype = layer.in_features, layer.out_features, dtype_name(layer.weight.dtype)
    return [
        LinearShape(min(inputs, most), min(outputs, most_outputs), tokens, dtype)
        for tokens, most, most_outputs in limits
    ]


def measured(shapes: Iterable[Shape], quantized: bool) -> Times:
    """Milliseconds of each kernel by shape: cached times, and new ones within the time limit.

    An overloaded machine isn't measured, because wrong times would stay in the cache. Processes
    measure one at a time, so that they don't slow each other down; the others use the result.

    Args:
        quantized: whether to time 8-bit linear layers, too.
    """
    machine, wanted = Processor.here(), list(shapes)
    times = machine.read()
    if not _missing(wanted, times, quantized) or is_overloaded():
        return times
    with _exclusively(machine):
        times = machine.read()  # another process may have added some meanwhile
        until = time.perf_counter() + LIMIT_S
        for shape in _missing(wanted, times, quantized):
            if time.perf_counter() < until and (found := time_kernels(shape, quantized, until)):
                times[str(shape)] = found
        with contextlib.suppress(OSError, RuntimeError):  # the next run measures again
            machine.write(times)
    return times


def int8_classes() -> dict[str, type[RoundedLinear]]:
    """Classes of int8 layers on this machine, by the name of their kernel or kernels."""
    kernels = int8_kernels()
    return {**kernels, PAIRED: PairedInt8Linear} if {ONEDNN, FBGEMM} <= {*kernels} else kernels


def fastest(times: Mapping[str, float], kernels: Iterable[str]) -> str | None:
    """Name of the fastest kernel; None if one of them wasn't timed."""
    names = [*kernels]
    return min(names, key=lambda name: times[name]) if {*names} <= {*times} else None


def with_pairs(times: Times) -> Times:
    """Times with those of layers that have both int8 kernels: each where it is used."""
    pair = {ONEDNN, FBGEMM}
    single = tokens_timed(1)
    return {
        shape: {**each, PAIRED: each[FBGEMM if single in shape else ONEDNN]}
        if pair <= {*each}
        else each
        for shape, each in times.items()
    }


def _totals(weights: int, shapes: Sequence[LinearShape], times: Times) -> dict[str, float]:
    """Milliseconds of a layer in a typical answer, by kernel; empty if a shape wasn't timed."""
    found = [times.get(str(shape), {}) for shape in shapes]
    # Of calls, each as much longer than the timed one as the layer has more weights.
    calls = [
        (_GENERATED if s.tokens == 1 else _PROMPT / PROMPT_TOKENS) * weights / s.weights
        for s in shapes
    ]
    return {
        kernel: sum(count * each[kernel] for count, each in zip(calls, found, strict=True))
        for kernel in (found[0] if found else ())
        if all(kernel in each for each in found)
    }


def _with_start(times: Mapping[str, float]) -> dict[str, float]:
    return {k: t * (_FBGEMM_LEAD if k in (FBGEMM, PAIRED) else 1) for k, t in times.items()}


def _default_kernel(name: str, default: KernelChoice) -> str:
    return PACKED if name in default.packed else STOCK_KERNEL


def _missing(shapes: Iterable[Shape], times: Times, quantized: bool) -> list[Shape]:
    """Shapes without times, and linear ones without times of 8-bit kernels if those are needed."""
    int8_names = {*int8_kernels()} if quantized else set()
    return [
        shape
        for shape in shapes
        if str(shape) not in times
        or (isinstance(shape, LinearShape) and not int8_names <= {*times[str(shape)]})
    ]


@contextlib.contextmanager
def _exclusively(machine: Processor) -> Iterator[None]:
    """Lock out other processes while this one measures, if the cache folder is writable."""
    with contextlib.ExitStack() as stack:
        # If the lock can't be taken, a possibly inaccurate measurement is better than waiting on.
        with contextlib.suppress(OSError, RuntimeError, Timeout):
            machine.file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(machine.file.with_suffix(".lock"), timeout=WAIT_S))
        yield


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a dtype without "torch.", such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")

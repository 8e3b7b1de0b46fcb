"""The choice of CPU kernels for a model: those measured to be fastest for its shapes.

The first load of a model times stock and own kernels for its shapes, in less than three seconds,
and keeps the times in the user's cache, a file for each processor, release of torch and number of
threads. A small model answers before that would have paid: for it, for shapes that there was no
time for, and on a machine that is overloaded, the choice is `unmeasured`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from dycoke_cli.kernels.attention import REGISTER
from dycoke_cli.kernels.attention_interface import BIDIRECTIONAL, CAUSAL, DECODE, SHAPES
from dycoke_cli.kernels.int8_linear import int8_kernels
from dycoke_cli.kernels.linear import PackedLinear
from dycoke_cli.kernels.processor import BFLOAT16, STOCK_KERNEL, Processor, Times, instructions
from dycoke_cli.kernels.replacing import eligible, may_pack, to_pack, to_round
from dycoke_cli.kernels.timing import (
    MOST_INPUTS,
    MOST_OUTPUTS,
    OWN,
    PACKED,
    PROMPT_TOKENS,
    AttentionShape,
    LinearShape,
    Shape,
    time_kernels,
)
from dycoke_cli.resources import is_overloaded
from dycoke_cli.stock.private_api import has_amx
from dycoke_cli.stock.sizes import Sizes

MIN_TIMED_WEIGHTS = 100_000_000
"""Models with fewer weights in linear layers aren't worth the time that measuring takes."""
LIMIT_S = 2.0
"""After so long nothing more is timed; what is running then takes less than a second."""
WAIT_S = 10.0
"""How long a run waits for another that is measuring."""
# What an answer is taken to be: so many tokens of a prompt, and so many generated.
_PROMPT, _GENERATED = 1024, 64

INT8_IS_SLOWER = (
    "--quantize int8 is slower than weights as stored on this processor and saves only memory; "
    "drop it where the model fits without"
)
FLOAT32_IS_FASTER = (
    "this processor computes bfloat16, as the weights are stored, slower than float32: with "
    "--dtype float32 the layers take {share:.0%} of the time, for twice the memory of the weights"
)
MAX_FLOAT32_SHARE = 0.8
"""From there on the memory of float32 isn't worth a sentence."""


@dataclass(frozen=True)
class Choice:
    """The kernels of a model.

    Args:
        attention: the shapes of attention that are ours.
        packed: the layers to pack, by name.
        int8: the kernel of each layer to put in 8 bits, by name.
        int8_is_slower: whether those take longer than in the model's own dtype.
        float32_share: of the time that the largest layer of a model in bfloat16 takes, what it
            would take in float32; None in other dtypes, in 8 bits, and where it isn't measured.
    """

    attention: frozenset[str]
    packed: list[str]
    int8: dict[str, type[PackedLinear]] = field(default_factory=dict)
    int8_is_slower: bool = False
    float32_share: float | None = None


def unmeasured(model: Any, quantized: bool) -> Choice:
    """The choice where nothing is measured.

    With AMX (Intel, Sapphire Rapids and later) stock SDPA computes attention 1.4 to 2 times as fast
    as ours, and layers in 8 bits are slower than packed ones in bfloat16. Without instructions for
    bfloat16 SDPA computes a prompt and a frame in it 2 to 20 times as fast, and ours one token.

    Args:
        model: a stock model.
        quantized: whether its layers go into 8 bits.
    """
    amx, has = has_amx(), set(instructions())
    emulated = model.dtype == torch.bfloat16 and "avx2" in has and not BFLOAT16 & has
    kind = next(iter(int8_kernels().values()))
    return Choice(
        attention=frozenset() if amx else frozenset([DECODE] if emulated else SHAPES),
        packed=to_pack(model),
        int8=dict.fromkeys(to_round(model), kind) if quantized else {},
        int8_is_slower=quantized and amx,
    )


def choose_kernels(model: Any, quantized: bool, *, measuring: bool = True) -> Choice:
    """The choice for a model, measured where that isn't known yet; never fails for a file.

    Args:
        model: a stock model on one device, before any layer is replaced; on the meta device where
            nothing is measured for it.
        quantized: whether its layers go into 8 bits.
        measuring: whether to time what isn't known yet; else only times that are kept count.
    """
    usual = unmeasured(model, quantized)
    if model.device.type not in ("cpu", "meta"):
        return usual
    layers = eligible(model)
    if sum(layer.weight.numel() for layer in layers.values()) < MIN_TIMED_WEIGHTS:
        return usual
    attention = attention_shapes(model)
    generating = {id(part) for part in model.get_decoder().modules()}
    generating.add(id(model.get_output_embeddings()))
    linear = {
        name: linear_shapes(layer, id(layer) in generating)
        for name, layer in layers.items()
        if may_pack(layer) or (quantized and name in usual.int8)
    }
    # What most of the time goes to comes first.
    most = sorted(linear, key=lambda name: -layers[name].weight.numel())
    wanted: list[Shape] = [*attention, *(shape for name in most for shape in linear[name])]
    compared = [] if quantized else linear.get(_to_compare(model, most), [])
    as_float32 = [replace(shape, dtype="float32") for shape in compared]
    shapes = dict.fromkeys([*wanted, *as_float32])
    times = measured(shapes, quantized) if measuring else Processor.here().read()

    own = set(usual.attention)
    for shape in attention:
        if found := times.get(str(shape)):
            (own.add if fastest(found, (STOCK_KERNEL, OWN)) == OWN else own.discard)(shape.shape)
    totals = {name: _totals(shapes, times) for name, shapes in linear.items()}
    eight = [*int8_kernels()]
    rounded = {name: fastest(totals[name], eight) for name in usual.int8}
    known = [totals[name] for name, kernel in rounded.items() if kernel is not None]
    return Choice(
        attention=frozenset(own),
        packed=[
            name
            for name, taken in totals.items()
            if (fastest(taken, (STOCK_KERNEL, PACKED)) or _usual(name, usual)) == PACKED
        ],
        int8={
            name: usual.int8[name] if kernel is None else int8_kernels()[kernel]
            for name, kernel in rounded.items()
        },
        int8_is_slower=sum(min(t[k] for k in eight) for t in known)
        > sum(min(t[k] for k in (STOCK_KERNEL, PACKED) if k in t) for t in known)
        if known
        else usual.int8_is_slower,
        float32_share=_share(_totals(as_float32, times), _totals(compared, times)),
    )


def _to_compare(model: Any, layers: Iterable[str]) -> str:
    """The first of the layers that all tokens of a prompt go through, if it is in bfloat16."""
    logits = model.get_output_embeddings()
    through = (name for name in layers if model.get_submodule(name) is not logits)
    return next(through, "") if model.dtype == torch.bfloat16 else ""


def _share(changed: Mapping[str, float], usual: Mapping[str, float]) -> float | None:
    return min(changed.values()) / min(usual.values()) if changed and usual else None


def attention_shapes(model: Any, *, all_frames: bool = False) -> list[AttentionShape]:
    """The shapes of attention in a model where ours isn't stock SDPA.

    Args:
        model: a stock model.
        all_frames: whether that of frames is among them even where it is.
    """
    sizes, dtype = Sizes.of(model.config), dtype_name(model.dtype)
    found = [
        AttentionShape(shape, sizes.heads, sizes.kv_heads, sizes.head_width, dtype)
        for shape in (CAUSAL, DECODE)
    ]
    heads = sizes.vision.heads
    width = sizes.vision.hidden // heads if heads else 0
    if width % REGISTER or (width and all_frames):
        found.append(AttentionShape(BIDIRECTIONAL, heads, heads, width, dtype))
    return found


def linear_shapes(layer: nn.Linear, generating: bool) -> list[LinearShape]:
    """What is timed for a layer: tokens of a prompt, and one token where it generates.

    Args:
        layer: of a model.
        generating: whether it is part of a decoding step.
    """
    inputs, outputs = min(layer.in_features, MOST_INPUTS), min(layer.out_features, MOST_OUTPUTS)
    dtype = dtype_name(layer.weight.dtype)
    tokens = (PROMPT_TOKENS, 1) if generating else (PROMPT_TOKENS,)
    return [LinearShape(inputs, outputs, number, dtype) for number in tokens]


def measured(shapes: Iterable[Shape], quantized: bool, limit_s: float | None = None) -> Times:
    """Milliseconds of each kernel by shape: those that are kept, and what there is time for.

    Only those that are kept on an overloaded machine, whose times would mislead for good. One run
    at a time measures; others wait for what it finds.

    Args:
        shapes: what to time, the most important first.
        quantized: whether linear layers in 8 bits are timed, too.
        limit_s: after so many seconds nothing more is timed; None is `LIMIT_S`.
    """
    machine, wanted = Processor.here(), list(shapes)
    times = machine.read()
    if not _missing(wanted, times, quantized) or is_overloaded():
        return times
    with _alone(machine):
        times = machine.read()
        until = time.perf_counter() + (LIMIT_S if limit_s is None else limit_s)
        for shape in _missing(wanted, times, quantized):
            if time.perf_counter() < until and (found := time_kernels(shape, quantized, until)):
                times[str(shape)] = found
        with contextlib.suppress(OSError, RuntimeError):  # the next run measures again
            machine.write(times)
    return times


def int8_shares(dtype: str) -> tuple[float, float] | None:
    """What linear layers take in 8 bits of the time that they take as stored, on this machine.

    Args:
        dtype: that they are stored in, such as "bfloat16".

    Returns:
        of a prompt, and of one token, over all shapes that were ever timed; None where none was.
    """
    kept, eight = Processor.here().read(), [*int8_kernels()]
    shares = []
    for tokens in (PROMPT_TOKENS, 1):
        timed = [
            times
            for shape, times in kept.items()
            if shape.endswith(f", {tokens} tokens, {dtype}") and {*eight} <= {*times}
        ]
        if not timed:
            return None
        usual = sum(min(t[name] for name in (STOCK_KERNEL, PACKED) if name in t) for t in timed)
        shares.append(sum(min(t[name] for name in eight) for t in timed) / usual)
    return shares[0], shares[1]


def fastest(times: Mapping[str, float], kernels: Iterable[str]) -> str | None:
    """The fastest of some kernels, the first of equals; None where one of them wasn't timed.

    Args:
        times: by kernel.
        kernels: the names, stock first.
    """
    names = [*kernels]
    return min(names, key=lambda name: times[name]) if {*names} <= {*times} else None


def _totals(shapes: Sequence[LinearShape], times: Times) -> dict[str, float]:
    """What a layer takes in an answer, by kernel; empty where a shape wasn't timed."""
    found = [times.get(str(shape), {}) for shape in shapes]
    often = [_GENERATED if s.tokens == 1 else _PROMPT / PROMPT_TOKENS for s in shapes]
    return {
        kernel: sum(share * each[kernel] for share, each in zip(often, found, strict=True))
        for kernel in (found[0] if found else ())
        if all(kernel in each for each in found)
    }


def _usual(name: str, usual: Choice) -> str:
    return PACKED if name in usual.packed else STOCK_KERNEL


def _missing(shapes: Iterable[Shape], times: Times, quantized: bool) -> list[Shape]:
    eight = {*int8_kernels()} if quantized else set()
    return [
        shape
        for shape in shapes
        if str(shape) not in times
        or (isinstance(shape, LinearShape) and not eight <= {*times[str(shape)]})
    ]


@contextlib.contextmanager
def _alone(machine: Processor) -> Iterator[None]:
    """Hold other runs off while this one measures, as far as the folder allows that."""
    with contextlib.ExitStack() as stack:
        # Where it can't be written, or another run takes very long, this one measures beside it.
        with contextlib.suppress(OSError, RuntimeError, Timeout):
            machine.file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(machine.file.with_suffix(".lock"), timeout=WAIT_S))
        yield


def dtype_name(dtype: torch.dtype) -> str:
    """Such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")

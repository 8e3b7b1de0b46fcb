"""The times of a model's parts on this machine's CPU, from those of its kernels.

Linear layers and attention are timed by shape (`kernels/replacing.py`), each with the kernel that
the model would run. A step takes no less than reading its weights, keys and values from memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dycoke_cli.engine.memory.expected_time import (
    MEASURING_S,
    TOO_BUSY,
    UNFINISHED,
    Rates,
    causal_scores,
)
from dycoke_cli.kernels.attention import BIDIRECTIONAL, CAUSAL, DECODE, MAX_QUERIES
from dycoke_cli.kernels.choice import (
    KernelChoice,
    Part,
    attention_shapes,
    choose_kernels,
    dtype_name,
    int8_classes,
    linear_shapes,
    measured,
    parts_of,
    unmeasured,
    with_pairs,
)
from dycoke_cli.kernels.processor import STOCK_KERNEL, Times
from dycoke_cli.kernels.replacing import (
    ATTENDED,
    CUSTOM,
    PACKED,
    STREAMED,
    TINY,
    LinearShape,
    Shape,
    eligible,
)
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.resources import is_overloaded
from dycoke_cli.stock.sizes import Sizes

EXPERTS = "the experts of a mixture aren't timed"
BY_OTHERS = "layers that bitsandbytes or the checkpoint itself quantizes aren't timed"


def rates(model: Any, options: LoadOptions, *, quantized: bool) -> Rates | str:
    """Times of a model's parts, or a sentence that says why they aren't known.

    Kernels that weren't timed yet are, within `MEASURING_S`; on an overloaded machine roughly.

    Args:
        model: on the meta device, in the dtype that it would have.
    """
    if quantized or options.quantize == "int4":
        return BY_OTHERS
    if any("experts" in name for name, _ in model.named_modules()):
        return EXPERTS
    layers, rounded = _linear_layers(model), bool(options.quantize)
    attention = {shape.shape: shape for shape in attention_shapes(model, all_frames=True)}
    streamed, tiny = (LinearShape(*size, 1, dtype_name(model.dtype)) for size in (STREAMED, TINY))
    # Largest first: what isn't timed within `MEASURING_S` matters least.
    largest = sorted(layers, key=lambda layer: -layer.weights)
    linear = [shape for layer in largest for shape in layer.shapes]
    every: list[Shape] = [*attention.values(), tiny, streamed, *linear]
    wanted = [*dict.fromkeys(every)]
    times = with_pairs(measured(wanted, rounded, MEASURING_S))

    choice = _choice(model, options)  # by the times that are stored, as loading does
    kernels = _kernels_of(layers, choice)
    needed = [(s, kernels[layer.name]) for layer in layers for s in (*layer.shapes, streamed)]

    def whole(times: Times) -> bool:
        timed = all(kernel in times.get(str(shape), {}) for shape, kernel in needed)
        return timed and all(str(shape) in times for shape in wanted)

    rough = not whole(times) and is_overloaded()
    if rough:
        times = with_pairs(measured(wanted, rounded, MEASURING_S, rough=True))
    if not whole(times):
        return TOO_BUSY if rough else UNFINISHED

    def token_s(part: str) -> float:
        """Of a token among many, in the linear layers of a part of the model."""
        timed = ((layer, s) for layer in layers if layer.part == part for s in layer.shapes)
        return sum(layer.token_s(s, kernels, times) for layer, s in timed if s.tokens > 1)

    def step_s(part: str) -> float:
        """Of one token: no less than its weights take from memory."""
        timed = ((layer, s) for layer in layers if layer.part == part for s in layer.shapes)
        return sum(
            max(layer.token_s(s, kernels, times), layer.token_s(streamed, kernels, times))
            for layer, s in timed
            if s.tokens == 1
        )

    def score_s(shape: str, scores: float) -> float:
        """Of a score of attention, in one layer."""
        kernel = CUSTOM if shape in choice.attention else STOCK_KERNEL
        return times[str(attention[shape])][kernel] / 1000 / scores

    sizes = Sizes.of(model.config)
    number_s = times[str(streamed)][STOCK_KERNEL] / 1000 / math.prod(STREAMED)
    pair = None
    if BIDIRECTIONAL in attention:
        pair = sizes.vision.layers * score_s(BIDIRECTIONAL, ATTENDED[BIDIRECTIONAL] ** 2)
    causal = causal_scores(ATTENDED[CAUSAL], MAX_QUERIES)
    logits = step_s("output")
    return Rates(
        call=times[str(tiny)][STOCK_KERNEL] / 1000,
        layers=sizes.layers,
        vision_layers=sizes.vision.layers,
        patch=token_s("vision"),
        patch_pair=pair,
        token=token_s("decoder"),
        score=sizes.layers * score_s(CAUSAL, causal),
        block=MAX_QUERIES,
        logits=logits,
        step=step_s("decoder") + logits,
        # Keys and values are read once per step, so reading memory is a lower bound.
        attended=max(sizes.layers * score_s(DECODE, ATTENDED[DECODE]), sizes.kv * number_s),
        rough=rough,
    )


@dataclass(frozen=True)
class _LinearLayer:
    """A linear layer of a model, the part that it belongs to, and the shapes it is timed as."""

    name: str
    part: Part
    weights: int
    shapes: list[LinearShape]

    def token_s(self, shape: LinearShape, kernels: dict[str, str], times: Times) -> float:
        """Seconds of a token, timed in one of its shapes or another, as its weights are more."""
        scale = self.weights / shape.weights
        return times[str(shape)][kernels[self.name]] / 1000 / shape.tokens * scale


def _linear_layers(model: Any) -> list[_LinearLayer]:
    layers = eligible(model)
    return [
        _LinearLayer(name, part, layers[name].weight.numel(), linear_shapes(layers[name], part))
        for name, part in parts_of(model).items()
    ]


def _choice(model: Any, options: LoadOptions) -> KernelChoice:
    rounded = bool(options.quantize)
    if options.kernels == "fast":
        return choose_kernels(model, rounded, measuring=False)
    return KernelChoice(frozenset(), [], unmeasured(model, rounded).int8)


def _kernels_of(layers: list[_LinearLayer], choice: KernelChoice) -> dict[str, str]:
    names = {kind: name for name, kind in int8_classes().items()}
    kernels = dict.fromkeys((layer.name for layer in layers), STOCK_KERNEL)
    kernels |= dict.fromkeys(choice.packed, PACKED)
    return kernels | {layer: names[kind] for layer, kind in choice.int8.items()}

"""How long an answer would take on this machine's CPU, from the times of its kernels.

Linear layers and attention are timed by shape (`kernels/timing.py`); what is around them counts by
its calls, which are most of a small model's time. A step takes no less than reading its weights,
keys and values from memory. Importing this doesn't import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.sizes import Sizes

if TYPE_CHECKING:
    from dycoke_cli.kernels.timing import Shape

MEASURING_S = 1.0
"""After so long an estimate times no further kernel."""
BUSY = (
    "more processes want to run than there are CPUs, so times that are measured now would mislead; "
    "ask again later"
)
UNFINISHED = (
    f"not all kernels were timed within {MEASURING_S:g} s; the next estimate times the rest"
)
EXPERTS = "the experts of a mixture aren't timed"
BY_OTHERS = "layers that bitsandbytes or the checkpoint itself quantizes aren't timed"
# What is around the products, as calls of a tiny layer: of all, and of each layer. Measured with
# the bundled model, of whose time it is most.
_VISION_CALLS, _PROMPT_CALLS, _PROMPT_LAYER_CALLS = 200, 1200, 60
_STEP_CALLS, _STEP_LAYER_CALLS = 250, 30


@dataclass(frozen=True)
class Rates:
    """Seconds of the parts of an answer.

    Args:
        call: of a tiny layer.
        layers: of the language model.
        vision_layers: of the vision tower.
        patch: linear layers of the tower.
        patch_pair: its attention, of each patch to each of its frame; None where its sizes aren't
            known.
        token: linear layers of the language model, in a prompt.
        score: of its attention, in all layers, of a query to a key before it.
        block: queries that attend together, to all keys up to the last of them.
        logits: of one token.
        step: linear layers of a decoding step.
        attended: its attention, for each token attended to.
    """

    call: float
    layers: int
    vision_layers: int
    patch: float
    patch_pair: float | None
    token: float
    score: float
    block: int
    logits: float
    step: float
    attended: float

    def vision(self, frames: int, patches: int, together: int) -> float | None:
        """Seconds of the vision tower.

        Args:
            frames: that it encodes.
            patches: of each.
            together: patches that go through it together.
        """
        if self.patch_pair is None:
            return None
        passes = math.ceil(frames / max(1, together // max(1, patches)))
        each = patches * self.patch + patches**2 * self.patch_pair
        around = passes * (_VISION_CALLS + self.vision_layers * _PROMPT_LAYER_CALLS) * self.call
        return frames * each + around

    def prefill(self, tokens: float, chunk_len: int) -> float:
        """Seconds of the prompt.

        Args:
            tokens: that a layer reads, mean over layers.
            chunk_len: of them that go through a layer together.
        """
        passes = math.ceil(tokens / chunk_len)
        around = (_PROMPT_CALLS + passes * self.layers * _PROMPT_LAYER_CALLS) * self.call
        scores = _causal_scores(tokens, self.block) * self.score
        return tokens * self.token + scores + self.logits + around

    def decode(self, steps: int, attended: float) -> float:
        """Seconds of so many decoding steps, each attending to so many tokens, mean over layers."""
        around = (_STEP_CALLS + self.layers * _STEP_LAYER_CALLS) * self.call
        return steps * (self.step + attended * self.attended + around)


def rates(model: Any, options: LoadOptions, *, quantized: bool) -> Rates | str:
    """Times of a model's parts, or a sentence that says why they aren't known.

    Kernels that weren't timed yet are, within `MEASURING_S`.

    Args:
        model: on the meta device, in the dtype that it would have.
        options: how it would be loaded, on a CPU.
        quantized: whether it is stored quantized.
    """
    from dycoke_cli.kernels.attention import MAX_QUERIES
    from dycoke_cli.kernels.attention_interface import BIDIRECTIONAL, CAUSAL, DECODE
    from dycoke_cli.kernels.choice import (
        Choice,
        attention_shapes,
        choose_kernels,
        dtype_name,
        linear_shapes,
        measured,
        unmeasured,
    )
    from dycoke_cli.kernels.int8_linear import int8_kernels
    from dycoke_cli.kernels.processor import STOCK_KERNEL
    from dycoke_cli.kernels.replacing import eligible
    from dycoke_cli.kernels.timing import (
        ATTENDED,
        OWN,
        PACKED,
        PROMPT_TOKENS,
        STREAMED,
        TINY,
        LinearShape,
    )
    from dycoke_cli.resources import is_overloaded

    if quantized or options.quantize == "int4":
        return BY_OTHERS
    if any("experts" in name for name, _ in model.named_modules()):
        return EXPERTS
    sizes, dtype, rounded = Sizes.of(model.config), dtype_name(model.dtype), bool(options.quantize)
    layers, output = eligible(model), model.get_output_embeddings()
    inside = {id(part) for part in model.get_decoder().modules()}
    parts = {
        name: "output" if layer is output else "decoder" if id(layer) in inside else "vision"
        for name, layer in layers.items()
    }
    shapes = {name: linear_shapes(layer, parts[name] != "vision") for name, layer in layers.items()}
    attention = {shape.shape: shape for shape in attention_shapes(model, all_frames=True)}
    streamed, tiny = (LinearShape(*size, 1, dtype) for size in (STREAMED, TINY))
    largest = sorted(layers, key=lambda name: -layers[name].weight.numel())
    linear = [shape for name in largest for shape in shapes[name]]
    every: list[Shape] = [*attention.values(), tiny, streamed, *linear]
    wanted = [*dict.fromkeys(every)]
    times = measured(wanted, rounded, MEASURING_S)

    if options.kernels == "fast":
        choice = choose_kernels(model, rounded, measuring=False)
    else:
        choice = Choice(frozenset(), [], unmeasured(model, rounded).int8)
    names = {kind: name for name, kind in int8_kernels().items()}
    forms = dict.fromkeys(layers, STOCK_KERNEL) | dict.fromkeys(choice.packed, PACKED)
    forms |= {layer: names[kind] for layer, kind in choice.int8.items()}
    needed = [(shape, forms[name]) for name in layers for shape in (*shapes[name], streamed)]
    if not all(kernel in times.get(str(shape), {}) for shape, kernel in needed) or not all(
        str(shape) in times for shape in wanted
    ):
        return BUSY if is_overloaded() else UNFINISHED

    def each(shape: LinearShape, name: str) -> float:
        """Seconds of a token in a layer, timed as one of this shape."""
        scale = layers[name].weight.numel() / (shape.inputs * shape.outputs)
        return times[str(shape)][forms[name]] / 1000 / shape.tokens * scale

    def of(part: str, tokens: int) -> float:
        found = ((name, shape) for name in layers if parts[name] == part for shape in shapes[name])
        if tokens > 1:
            return sum(each(shape, name) for name, shape in found if shape.tokens > 1)
        return sum(
            max(each(shape, name), each(streamed, name))
            for name, shape in found
            if shape.tokens == 1
        )

    def attending(shape: str, scores: float) -> float:
        """Seconds of a score, in one layer."""
        kernel = OWN if shape in choice.attention else STOCK_KERNEL
        return times[str(attention[shape])][kernel] / 1000 / scores

    read = times[str(streamed)][STOCK_KERNEL] / 1000 / math.prod(STREAMED)
    frames = BIDIRECTIONAL in attention
    return Rates(
        call=times[str(tiny)][STOCK_KERNEL] / 1000,
        layers=sizes.layers,
        vision_layers=sizes.vision.layers,
        patch=of("vision", PROMPT_TOKENS),
        patch_pair=sizes.vision.layers * attending(BIDIRECTIONAL, ATTENDED[BIDIRECTIONAL] ** 2)
        if frames
        else None,
        token=of("decoder", PROMPT_TOKENS),
        score=sizes.layers * attending(CAUSAL, _causal_scores(ATTENDED[CAUSAL], MAX_QUERIES)),
        block=MAX_QUERIES,
        logits=of("output", 1),
        step=of("decoder", 1) + of("output", 1),
        attended=max(sizes.layers * attending(DECODE, ATTENDED[DECODE]), sizes.kv * read),
    )


def _causal_scores(tokens: float, block: int) -> float:
    return tokens * (tokens + min(tokens, block)) / 2

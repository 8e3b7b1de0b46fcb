"""How long an answer would take on this machine's CPU, from the times of its kernels.

They were measured when a model with the same shapes was first loaded (`kernels/choice.py`).
Linear layers and attention are nine tenths of an answer; the rest isn't counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dycoke_cli.kernels.attention_interface import BIDIRECTIONAL, CAUSAL, DECODE
from dycoke_cli.kernels.choice import (
    Choice,
    attention_shapes,
    choose_kernels,
    linear_shapes,
)
from dycoke_cli.kernels.int8_linear import int8_kernels
from dycoke_cli.kernels.processor import STOCK_KERNEL, Processor, Times
from dycoke_cli.kernels.replacing import eligible
from dycoke_cli.kernels.timing import ATTENDED, OWN, PACKED, LinearShape
from dycoke_cli.sizes import Sizes


class ExpectedTime:
    """Times of a model's stages; each is None where a kernel that it takes wasn't measured.

    Args:
        model: on the meta device, in the dtype that it would have.
        quantized: whether its layers go into 8 bits.
        times: of kernels; None are those that are kept of this machine.
    """

    def __init__(self, model: Any, quantized: bool, times: Times | None = None) -> None:
        self._times = Processor.here().read() if times is None else times
        self._choice = choose_kernels(model, quantized, measuring=False)
        self._attention = {shape.shape: shape for shape in attention_shapes(model)}
        layers, output = eligible(model), model.get_output_embeddings()
        inside = {id(part) for part in model.get_decoder().modules()}
        forms = _forms(self._choice)
        self._of_token: dict[str, list[Mapping[int, float] | None]] = {
            "decoder": [], "output": [], "vision": []
        }  # fmt: skip
        for name, layer in layers.items():
            part = "output" if layer is output else "decoder" if id(layer) in inside else "vision"
            shapes = linear_shapes(layer, part != "vision")
            numbers = layer.weight.numel()
            self._of_token[part].append(self._linear(shapes, forms.get(name), numbers))
        self._sizes = Sizes.of(model.config)

    def vision(self, frames: int, patches: int) -> float | None:
        """Seconds of the vision tower.

        Args:
            frames: that it encodes.
            patches: of each.
        """
        linear = self._sum("vision", tokens=frames * patches, at_once=True)
        attention = self._of_attention(BIDIRECTIONAL, patches**2 / ATTENDED[BIDIRECTIONAL] ** 2)
        layers = frames * self._sizes.vision.layers
        return _total(linear, None if attention is None else attention * layers)

    def prefill(self, tokens: float) -> float | None:
        """Seconds to read so many tokens, mean over layers."""
        linear = self._sum("decoder", tokens=tokens, at_once=True)
        attention = self._of_attention(CAUSAL, tokens**2 / ATTENDED[CAUSAL] ** 2)
        logits = self._sum("output", tokens=1, at_once=False)
        return _total(linear, None if attention is None else attention * self._sizes.layers, logits)

    def decode(self, steps: int, attended: float) -> float | None:
        """Seconds of so many decoding steps, each attending to so many tokens, mean over layers."""
        linear = _total(*(self._sum(part, 1, at_once=False) for part in ("decoder", "output")))
        attention = self._of_attention(DECODE, attended / ATTENDED[DECODE])
        step = _total(linear, None if attention is None else attention * self._sizes.layers)
        return None if step is None else step * steps

    def _linear(
        self, shapes: Sequence[LinearShape], kernel: str | None, numbers: int
    ) -> Mapping[int, float] | None:
        """Seconds of a token by tokens at once; None where it wasn't measured."""
        found = {}
        for shape in shapes:
            taken = self._times.get(str(shape), {}).get(kernel or STOCK_KERNEL)
            if taken is None:
                return None
            scale = numbers / (shape.inputs * shape.outputs)
            found[shape.tokens] = taken / 1000 / shape.tokens * scale
        return found

    def _sum(self, part: str, tokens: float, at_once: bool) -> float | None:
        found = [
            None if times is None else times[max(times) if at_once else 1] * tokens
            for times in self._of_token[part]
        ]
        return _total(*found)

    def _of_attention(self, shape: str, scale: float) -> float | None:
        """Seconds of one layer."""
        named = self._attention.get(shape)
        kernel = OWN if shape in self._choice.attention else STOCK_KERNEL
        taken = self._times.get(str(named), {}).get(kernel)
        return None if taken is None else taken / 1000 * scale


def _forms(choice: Choice) -> dict[str, str]:
    """The kernel of each layer that doesn't stay stock, as times name it."""
    names = {kind: name for name, kind in int8_kernels().items()}
    packed = dict.fromkeys(choice.packed, PACKED)
    return packed | {layer: names[kind] for layer, kind in choice.int8.items()}


def _total(*seconds: float | None) -> float | None:
    known = [value for value in seconds if value is not None]
    return sum(known) if len(known) == len(seconds) else None

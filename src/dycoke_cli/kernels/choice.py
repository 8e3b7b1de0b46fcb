"""Selection of CPU kernels for a model, by the instruction sets of this processor.

docs/speed.md has the times behind the rules. They look at shapes only where the sign of a
difference depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from dycoke_cli.kernels.attention import DECODE_ONLY, NAME
from dycoke_cli.kernels.instruction_sets import emulates_bfloat16, instructions
from dycoke_cli.kernels.linear import (
    FbgemmInt8Linear,
    Int8Linear,
    PackedLinear,
    PairedInt8Linear,
    int8_kernels,
)
from dycoke_cli.kernels.replacing import eligible, to_pack, to_round
from dycoke_cli.resources import main_memory
from dycoke_cli.stock.attention import SDPA

MOST_PACKED_INPUTS = 1024
"""Maximum inputs of a layer of the language model that is packed without AMX: packing makes prompts
faster by a twentieth, and a single token is up to 1.7 times as fast in a larger stock layer."""
MIN_SECOND_BYTES = 100_000_000
"""Minimum bytes of second copies of int8 weights: fewer stay in a CPU cache, from which both
kernels are as fast."""
# Largest share of main memory for them. Of all memory, not of the free one: answers don't depend on
# what else runs on a machine.
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

    attention: str  # registered name of the attention
    packed: list[str]  # names of the layers to pack
    # class for each layer to quantize to 8 bits, by layer name
    int8: dict[str, type[PackedLinear]] = field(default_factory=dict)
    # whether the quantized layers are slower than in the model's own dtype
    int8_is_slower: bool = False


def choose_kernels(model: Any, quantized: bool) -> KernelChoice:
    """Select the kernels of a model.

    Custom attention is for single tokens, and in bfloat16 for prompts and frames as well, unless
    that is emulated. With AMX (Intel, Sapphire Rapids and later) stock attention in bfloat16 is 1.4
    to 2 times as fast, packing pays off for layers of any size, and 8-bit layers are slower than
    packed ones in bfloat16.

    Args:
        quantized: whether its layers are quantized to 8 bits.
    """
    has = instructions()
    amx = "amx_bf16" in has
    if model.dtype != torch.bfloat16 or emulates_bfloat16(has):
        attention = DECODE_ONLY
    else:
        attention = SDPA if amx else NAME
    parts, layers = parts_of(model), eligible(model)
    return KernelChoice(
        attention=attention,
        packed=[
            name
            for name in to_pack(model)
            if amx or parts[name] == "vision" or layers[name].in_features <= MOST_PACKED_INPUTS
        ],
        int8=_int8_layers(model, parts) if quantized else {},
        int8_is_slower=quantized and amx,
    )


def parts_of(model: Any) -> dict[str, Part]:
    """The part of a model that each of its eligible linear layers belongs to, by name."""
    inside = {id(part) for part in model.get_decoder().modules()}
    output = model.get_output_embeddings()
    return {
        name: "output" if layer is output else "decoder" if id(layer) in inside else "vision"
        for name, layer in eligible(model).items()
    }


def _int8_layers(model: Any, parts: dict[str, Part]) -> dict[str, type[PackedLinear]]:
    """The class of each layer to quantize: oneDNN's is for prompts, FBGEMM's for single tokens.

    Layers of the decoder, which get both, have both kernels if that saves time and the second
    copies of their weights fit. The output layer gets single tokens alone, and a vision tower none.
    """
    names, kernels = to_round(model), int8_kernels()
    if len(kernels) == 1:
        return dict.fromkeys(names, *kernels.values())
    decoder = [model.get_submodule(name) for name in names if parts[name] == "decoder"]
    second = sum(map(FbgemmInt8Linear.nbytes_of, decoder))
    both = MIN_SECOND_BYTES <= second <= _MOST_SECOND_COPIES * (main_memory() or 0)
    kinds: dict[Part, type[PackedLinear]] = {
        "vision": Int8Linear,
        "decoder": PairedInt8Linear if both else Int8Linear,
        "output": FbgemmInt8Linear,
    }
    return {name: kinds[parts[name]] for name in names}

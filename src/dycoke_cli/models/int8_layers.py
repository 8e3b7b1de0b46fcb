"""`--quantize int8` on a CPU: which linear layers go on in 8 bits, once a model is loaded."""

from __future__ import annotations

from typing import Any

from torch import nn

from dycoke_cli.kernels.int8_linear import Int8Linear

FEWEST_OUTPUTS = 256
"""Layers of fewer stay whole: rounding a token costs more time than the short product saves.

Among them are the routers and gates of mixtures of experts, where a rounded number could choose
another expert.
"""


def use_int8(model: Any) -> None:
    """Put the linear layers of the decoder, its output and the vision tower in 8 bits, in place.

    Each layer's own weights are let go before the next one is rounded, the largest last: its
    float32 copy then finds the room that the others left. What stays whole is copied, for it may
    be mapped from the model's file, all of which would stay in memory with it.

    Args:
        model: a stock model on a CPU.
    """
    layers = sorted(eligible(model).items(), key=lambda layer: layer[1].weight.numel())
    names = [name for name, _ in layers]
    del layers
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def eligible(model: Any) -> dict[str, nn.Linear]:
    """The layers by their names: those of transformer blocks, and the output layer.

    A block is what has an attention as one of its parts. So patch embeddings and the projector stay
    whole: they are small, and merging compares what the projector makes of a frame. Experts whose
    weights are one tensor aren't linear layers and stay whole too.

    Args:
        model: a stock model.
    """
    output = model.get_output_embeddings()
    inside = {id(part) for block in model.modules() if _is_block(block) for part in block.modules()}
    return {
        name: part
        for name, part in model.named_modules()
        if type(part) is nn.Linear
        and part.out_features >= FEWEST_OUTPUTS
        and (id(part) in inside or part is output)
    }


def packed_bytes(model: Any) -> int:
    """Bytes of weights in 8 bits, which aren't among a model's parameters.

    Args:
        model: any.
    """
    return sum(part.packed_bytes for part in model.modules() if isinstance(part, Int8Linear))


def _is_block(module: nn.Module) -> bool:
    return any("attn" in name or "attention" in name for name, _ in module.named_children())

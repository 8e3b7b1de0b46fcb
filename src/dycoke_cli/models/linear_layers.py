"""Which linear layers of a loaded model go on with weights as a CPU wants them, and which way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from dycoke_cli.kernels.int8_linear import Int8Linear
from dycoke_cli.kernels.packed_linear import (
    GELU,
    GELU_TANH,
    NOTHING,
    Behind,
    PackedLinear,
    can_pack,
)
from dycoke_cli.kernels.stand_in import StandIn
from dycoke_cli.models.devices import is_spread

FEWEST_OUTPUTS = 256
"""Layers of fewer aren't rounded: rounding a token costs more time than the short product saves.

Among them are the routers and gates of mixtures of experts, where a rounded number could choose
another expert.
"""
FEWEST_WEIGHTS = 512 * 512
"""Layers of fewer aren't packed: they lie in the processor's cache anyhow."""
# Activations that oneDNN computes as transformers does.
_BEHIND: dict[type[nn.Module], Behind] = {
    type(ACT2FN["gelu"]): GELU,
    type(ACT2FN["gelu_pytorch_tanh"]): GELU_TANH,
}


def use_int8(model: Any) -> None:
    """Put the linear layers of the decoder, its output and the vision tower in 8 bits, in place.

    Args:
        model: a stock model on a CPU.
    """
    _put_in_place(model, dict.fromkeys(to_round(model), Int8Linear))


def use_packed(model: Any) -> bool:
    """Have the weights of the same layers laid out for this processor, in place; whether they are.

    The numbers stay what they are. An output layer that is the table of the words, too, is there
    twice from then on.

    Args:
        model: a stock model.
    """
    if model.device.type != "cpu" or is_spread(model) or not can_pack():
        return False
    packed = to_pack(model)
    behind = _activations(model, packed)
    for _, activation in behind.values():
        model.set_submodule(activation, nn.Identity())

    def pack(name: str) -> Callable[[nn.Linear], StandIn]:
        return lambda linear: PackedLinear(linear, behind.get(name, (NOTHING, ""))[0])

    _put_in_place(model, {name: pack(name) for name in packed})
    return bool(packed)


def to_round(model: Any) -> list[str]:
    """The layers that 8 bits suit, by their names in a model."""
    return [n for n, part in eligible(model).items() if part.out_features >= FEWEST_OUTPUTS]


def to_pack(model: Any) -> list[str]:
    """The layers that are worth laying out anew, by their names in a model."""
    weights = {name: part.weight for name, part in eligible(model).items()}
    return [
        name
        for name, weight in weights.items()
        if weight.dtype == torch.bfloat16 and weight.numel() >= FEWEST_WEIGHTS
    ]


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
        if type(part) is nn.Linear and (id(part) in inside or part is output)
    }


def packed_bytes(model: Any) -> int:
    """Bytes of weights that aren't among a model's parameters, for they lie in another form.

    Args:
        model: any.
    """
    return sum(part.packed_bytes for part in model.modules() if isinstance(part, StandIn))


def _put_in_place(model: Any, ways: dict[str, Callable[[nn.Linear], StandIn]]) -> None:
    """Each layer's own weights are let go before the next one is put in its form.

    The largest comes last: its copy then finds the room that the others left. What stays as it is
    is copied, for it may be mapped from the model's file, all of which would stay in memory with
    it.
    """
    for name in sorted(ways, key=lambda name: model.get_submodule(name).weight.numel()):
        model.set_submodule(name, ways[name](model.get_submodule(name)))
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def _activations(model: Any, packed: list[str]) -> dict[str, tuple[Behind, str]]:
    """Layer whose output goes straight into an activation -> that, and its name in the model."""
    found = {}
    for name, part in model.named_modules():
        first, activation = f"{name}.fc1", f"{name}.activation_fn"
        behind = _BEHIND.get(type(getattr(part, "activation_fn", None)))  # type: ignore[arg-type]
        if behind is not None and first in packed:
            found[first] = behind, activation
    return found


def _is_block(module: nn.Module) -> bool:
    return any("attn" in name or "attention" in name for name, _ in module.named_children())

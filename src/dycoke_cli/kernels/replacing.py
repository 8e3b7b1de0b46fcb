"""A stock model's attention and linear layers replaced by ours, on a CPU.

Which of them a model gets is chosen in `choice.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Collection, Mapping, Set
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from dycoke_cli.kernels.attention_interface import SHAPES, STOCK, name_of
from dycoke_cli.kernels.int8_linear import int8_kernels
from dycoke_cli.kernels.linear import (
    GELU,
    GELU_TANH,
    NO_EPILOGUE,
    Bfloat16Linear,
    Epilogue,
    PackedLinear,
    can_pack,
)
from dycoke_cli.stock.private_api import attention_implementation

MIN_INT8_OUTPUTS = 256
"""Layers of fewer aren't rounded: rounding a token costs more time than the short product saves.

Among them are the routers and gates of mixtures of experts, where a rounded number could choose
another expert.
"""
MIN_PACKED_WEIGHTS = 512 * 512
"""Layers of fewer are packed only where that was measured to be faster."""
_MOST_HELD_BACK = 64 * 1024**2
"""Bytes of freed weights after which the C library is asked to give them back."""
# Activations that oneDNN computes as transformers does.
_EPILOGUES: dict[type[nn.Module], Epilogue] = {
    type(ACT2FN["gelu"]): GELU,
    type(ACT2FN["gelu_pytorch_tanh"]): GELU_TANH,
}


def use_own_attention(model: Any, own: Set[str] = frozenset(SHAPES)) -> bool:
    """Set custom attention on a model that would run stock SDPA on a CPU; whether it was set.

    On accelerators, SDPA and FlashAttention stay.

    Args:
        model: a stock model.
        own: the shapes that are ours, of `attention_interface.SHAPES`.
    """
    if not own or attention_implementation(model) != STOCK or model.device.type != "cpu":
        return False
    model.set_attn_implementation(name_of(own))
    return True


def use_int8(model: Any, kernels: Mapping[str, type[PackedLinear]] | None = None) -> None:
    """Quantize the linear layers of the decoder, output and vision tower to int8, in place.

    Args:
        model: a stock model on a CPU.
        kernels: that of each layer, by its name; None is the usual one for all of `to_round`.
    """
    if kernels is None:
        kernels = dict.fromkeys(to_round(model), next(iter(int8_kernels().values())))
    _replace(model, kernels)


def use_packed(model: Any, names: Collection[str] | None = None) -> bool:
    """Pack the weights of linear layers for this CPU, in place; whether any were.

    Their values stay as they are. An output layer that is tied to the embeddings takes memory of
    its own from then on.

    Args:
        model: a stock model on one device.
        names: of the layers; None is all of `to_pack`. What is no stock layer stays as it is.
    """
    if model.device.type != "cpu" or not can_pack():
        return False
    wanted = to_pack(model) if names is None else names
    packed = [name for name, layer in eligible(model).items() if name in wanted and may_pack(layer)]
    epilogues = _activations(model, packed)
    for _, activation in epilogues.values():
        model.set_submodule(activation, nn.Identity())

    def pack(name: str) -> Callable[[nn.Linear], PackedLinear]:
        return lambda linear: Bfloat16Linear(linear, epilogues.get(name, (NO_EPILOGUE, ""))[0])

    _replace(model, {name: pack(name) for name in packed})
    return bool(packed)


def to_round(model: Any) -> list[str]:
    """The layers to quantize to 8 bits, by their names in a model."""
    return [n for n, part in eligible(model).items() if part.out_features >= MIN_INT8_OUTPUTS]


def to_pack(model: Any) -> list[str]:
    """The layers that are large enough to be packed unmeasured, by their names in a model."""
    return [
        name
        for name, layer in eligible(model).items()
        if may_pack(layer) and layer.weight.numel() >= MIN_PACKED_WEIGHTS
    ]


def may_pack(layer: nn.Linear) -> bool:
    """Whether a layer is of the kind that can be packed.

    Args:
        layer: of a model, or of one on the meta device.
    """
    return layer.weight.dtype == torch.bfloat16


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
    """Bytes of packed weights, which aren't among a model's parameters.

    Args:
        model: any.
    """
    return sum(part.packed_bytes for part in model.modules() if isinstance(part, PackedLinear))


def _replace(model: Any, replacements: Mapping[str, Callable[[nn.Linear], PackedLinear]]) -> None:
    """Replace layers one by one, each freeing its stock weights before the next is packed.

    The largest comes last: its copy then finds the room that the others left. What stays as it is
    is copied, for it may be mapped from the model's file, all of which would stay in memory with
    it.
    """
    if not replacements:
        return
    freed = 0
    for name in sorted(replacements, key=lambda name: model.get_submodule(name).weight.numel()):
        layer = model.get_submodule(name)
        model.set_submodule(name, replacements[name](layer))
        freed += layer.weight.nbytes
        del layer
        if freed >= _MOST_HELD_BACK:
            freed = 0
            _give_back()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    _give_back()


def _give_back() -> None:
    """Return to the system what glibc holds ready of freed memory: up to half of the weights."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _activations(model: Any, packed: list[str]) -> dict[str, tuple[Epilogue, str]]:
    """For each layer that feeds an activation only: that as an epilogue, and its name."""
    found = {}
    for name, part in model.named_modules():
        first, activation = f"{name}.fc1", f"{name}.activation_fn"
        epilogue = _EPILOGUES.get(type(getattr(part, "activation_fn", None)))  # type: ignore[arg-type]
        if epilogue is not None and first in packed:
            found[first] = epilogue, activation
    return found


def _is_block(module: nn.Module) -> bool:
    return any("attn" in name or "attention" in name for name, _ in module.named_children())

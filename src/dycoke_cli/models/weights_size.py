"""Whether a model fits on its device: known from its configuration, before anything is allocated.

The stock class is built on the meta device, where weights have shapes and take no memory. So the
answer is the same for weights that are stored, downloaded later, or random.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.kernels.int8_linear import Int8Linear
from dycoke_cli.kernels.packed_linear import PackedLinear, can_pack
from dycoke_cli.models.choosing import ChosenModel
from dycoke_cli.models.linear_layers import to_pack, to_round
from dycoke_cli.models.quantizing import by_bitsandbytes, kept_whole, stored_quantized
from dycoke_cli.models.source import explained, stored_bytes
from dycoke_cli.resources import in_words

_FLOAT32 = 4
# bitsandbytes' NF4: half a byte a weight; a byte for the scale of each 64 weights, and 4 for the
# scale of each 256 of those.
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
_OTHER_DEVICES = ["--device-map auto", "--device cpu"]

Bytes = Callable[[nn.Linear], float]


def needed_bytes(chosen: ChosenModel) -> int | None:
    """Bytes that a model takes at the peak of loading, which is never less than afterwards.

    Args:
        chosen: the model, with how it is to be loaded.

    Returns:
        Bytes on all its devices together; None of a model that is stored quantized and whose files
        don't tell their size.

    Raises:
        ModelError: its configuration isn't one of a model.
    """
    if stored_quantized(chosen.config):
        return stored_bytes(chosen.source, chosen.revision)
    with explained(chosen.source, "its config.json"), torch.device("meta"):
        # A copy, for the dtype is noted in the configuration that is given.
        model = AutoModelForImageTextToText.from_config(
            copy.deepcopy(chosen.config), dtype=chosen.dtype
        )
    options = chosen.options
    if options.quantize is not None and by_bitsandbytes(options.quantize, chosen.device):
        return _by_bitsandbytes(model, chosen)
    if options.quantize is not None:
        # Weights in float32 and rounded, of one layer at a time, until they are laid out.
        return _replacing(model, to_round(model), Int8Linear.held, lambda x: _numbers(x) * 5)
    on_cpu = chosen.device.type == "cpu" and options.device_map is None
    if on_cpu and options.kernels == "fast" and can_pack():
        return _replacing(model, to_pack(model), PackedLinear.held, lambda _: 0)
    return _whole(model)


def check_room(chosen: ChosenModel, free: int | None, copies: int = 1) -> None:
    """Refuse to load a model that doesn't fit.

    Args:
        chosen: the model.
        free: bytes on its device, or on all of them where it is spread; None where they aren't
            known.
        copies: how many processes load it at once.

    Raises:
        OutOfMemoryError: with the flags that help.
    """
    needed = needed_bytes(chosen)
    if needed is None or free is None or copies * needed <= free:
        return
    spread = chosen.options.device_map is not None
    ways = ["a smaller --model"]
    whole = chosen.options.quantize is None and not stored_quantized(chosen.config)
    if whole and chosen.dtype == torch.float32 and copies * needed // 2 <= free:
        ways.insert(0, "--dtype bfloat16")
    if chosen.device.type != "cpu" and not spread:
        ways += ["--device cpu"] if chosen.options.random_weights else _OTHER_DEVICES
    if copies > 1:
        ways.insert(0, "fewer --workers")
    where = "all devices together" if spread else str(chosen.device)
    several = f" in {copies} processes" if copies > 1 else ""
    raise OutOfMemoryError(
        f"the model {chosen.source.name}{several} {in_words(copies * needed, free)} on {where}; "
        f"use {' or '.join(ways)}"
    )


def _whole(model: Any) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _replacing(model: Any, names: list[str], held: Bytes, beside: Bytes) -> int:
    """At the peak while layers take another form one by one, the smallest first.

    Args:
        model: on the meta device.
        names: of the layers.
        held: bytes of a layer's weights in the other form.
        beside: bytes of what is needed beside both forms for the length of a layer.
    """
    shared = _shared(model)
    now = most = float(_whole(model))
    layers = sorted(map(model.get_submodule, names), key=_numbers)
    for layer in layers:
        most = max(most, now + held(layer) + beside(layer))
        # A table of words that is the output layer, too, stays what it is.
        now += held(layer) - (0 if id(layer.weight) in shared else layer.weight.nbytes)
    # What stays as it is is copied at the end, a tensor at a time.
    replaced = {id(layer.weight) for layer in layers} - shared
    largest = max((x.nbytes for x in model.parameters() if id(x) not in replaced), default=0)
    return int(max(most, now + largest))


def _by_bitsandbytes(model: Any, chosen: ChosenModel) -> int:
    """Each weight comes to the device whole, and is quantized there."""
    whole = set(kept_whole(chosen.config))
    quantized = [
        part
        for name, part in model.named_modules()
        if type(part) is nn.Linear
        and not any(name == other or name.startswith(f"{other}.") for other in whole)
    ]
    byte = chosen.options.quantize == "int8"
    after = float(_whole(model))
    for part in quantized:
        rows = part.out_features * _FLOAT32  # the scales of int8
        small = _numbers(part) + rows if byte else _numbers(part) * _NF4
        after += small - part.weight.nbytes
    return int(after + max((part.weight.nbytes for part in quantized), default=0))


def _shared(model: Any) -> set[int]:
    """The parameters that stand in several places."""
    seen: set[int] = set()
    twice: set[int] = set()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        (twice if id(parameter) in seen else seen).add(id(parameter))
    return twice


def _numbers(layer: nn.Linear) -> int:
    return layer.weight.numel()

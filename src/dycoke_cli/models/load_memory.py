"""What loading a model takes of memory, and whether it fits.

`needed_bytes` knows before anything is allocated: the stock class is built on the meta device,
where weights have shapes and take no memory. So the answer is the same for weights that are stored,
downloaded later, or random.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import ModelError, OutOfMemoryError
from dycoke_cli.models.files.weight_files import (
    WHOLE,
    check_references,
    hub_reader,
    loaded_files,
)
from dycoke_cli.models.resolve import ModelRef, ResolvedModel, explained
from dycoke_cli.resources import in_words
from dycoke_cli.stock.importing import uncollected

if TYPE_CHECKING:
    from torch import nn

    from dycoke_cli.kernels.linear import PackedLinear

_FLOAT32 = 4
# bitsandbytes' NF4: half a byte a weight; a byte for the scale of each 64 weights, and 4 for the
# scale of each 256 of those.
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
# On a CPU with bfloat16 the first question packs them anew, with a scale of 2 bytes for each 64.
_NF4_ON_CPU = 0.5 + 2 / 64
# Weights of 8 bits that are loaded as float32 and packed take 8 times their file.
_MOST_OVER_STORED = 16
_SMALL = 256 << 20
_OTHER_DEVICES = ["--device-map auto", "--device cpu"]


@dataclass(frozen=True)
class WeightBytes:
    """Memory of a model's weights.

    Args:
        loading: bytes at the peak of loading, which is never less than afterwards.
        held: bytes once it is loaded, in whatever form its layers have by then.
    """

    loading: int
    held: int


def without_weights(resolved: ResolvedModel) -> Any:
    """The stock model on the meta device, where weights have shapes and take no memory.

    Args:
        resolved: the model.

    Raises:
        ModelError: its configuration isn't one of a model.
    """
    with uncollected():  # the classes of the model are imported where it is built
        import torch

        from dycoke_cli.stock.model_class import auto_class

        with explained(resolved.source, "its config.json"), torch.device("meta"):
            # A copy, for the dtype is noted in the configuration that is given.
            return auto_class(resolved.config).from_config(
                copy.deepcopy(resolved.config), dtype=resolved.dtype
            )


def needed_bytes(resolved: ResolvedModel) -> int | None:
    """Bytes that a model takes at the peak of loading: see `weight_bytes`."""
    found = weight_bytes(resolved)
    return None if found is None else found.loading


def weight_bytes(resolved: ResolvedModel, built: Any = None) -> WeightBytes | None:
    """Memory of a model's weights, counted module by module before any are read.

    Where kernels are chosen by measurement and nothing is measured yet, it is at most that: a layer
    that stays stock takes less than a packed one.

    Args:
        resolved: the model, with how it is to be loaded.
        built: the same `without_weights`; None builds it.

    Returns:
        Bytes on all its devices together; None of a model that is stored quantized and whose files
        don't tell their size.

    Raises:
        ModelError: its configuration isn't one of a model.
    """
    from dycoke_cli.kernels.choice import choose_kernels, unmeasured
    from dycoke_cli.kernels.linear import Bfloat16Linear, can_pack
    from dycoke_cli.kernels.quantize import by_bitsandbytes, stored_quantized
    from dycoke_cli.kernels.replacing import eligible, may_pack

    if stored_quantized(resolved.config):
        stored = _stored_bytes(resolved.source, resolved.revision)
        return None if stored is None else WeightBytes(stored, stored)
    model, options = built or without_weights(resolved), resolved.options
    quantized = options.quantize is not None
    if options.quantize is not None and by_bitsandbytes(options.quantize, resolved.device):
        return _by_bitsandbytes(model, resolved)
    fast = options.kernels == "fast"
    if resolved.device.type != "cpu" or options.device_map is not None or not (quantized or fast):
        return WeightBytes(_whole(model), _whole(model))
    choice = choose_kernels(model, quantized, measuring=False) if fast else unmeasured(model, True)
    forms: dict[str, type[PackedLinear]] = dict(choice.int8)
    if fast and can_pack():
        layers = eligible(model)
        packed = (n for n in choice.packed if n not in forms and may_pack(layers[n]))
        forms |= dict.fromkeys(packed, Bfloat16Linear)
    return _replacing(model, forms)


def check_room(resolved: ResolvedModel, free: int | None, copies: int = 1) -> None:
    """Refuse to load a model that doesn't fit.

    Args:
        resolved: the model.
        free: bytes on its device, or on all of them where it is spread; None where they aren't
            known.
        copies: how many processes load it at once.

    Raises:
        OutOfMemoryError: with the flags that help.
        ModelError: its configuration is of another model than its files, a far larger one.
    """
    import torch

    from dycoke_cli.kernels.quantize import stored_quantized

    needed = needed_bytes(resolved)
    source = resolved.source
    if needed is not None and source.local and not resolved.options.random_weights:
        stored = _stored_bytes(source, None) or 0
        if needed > _MOST_OVER_STORED * stored + _SMALL:
            raise ModelError(
                f"{source.name} can't be loaded: by its config.json it would take "
                f"{needed / 1e9:.3g} GB, and its weight files have {stored / 1e9:.2g} GB; download "
                "it again"
            )
    if needed is None or free is None or copies * needed <= free:
        return
    spread = resolved.options.device_map is not None
    flags = ["a smaller --model"]
    whole = resolved.options.quantize is None and not stored_quantized(resolved.config)
    if whole and resolved.dtype == torch.float32 and copies * needed // 2 <= free:
        flags.insert(0, "--dtype bfloat16")
    if resolved.device.type != "cpu" and not spread:
        flags += ["--device cpu"] if resolved.options.random_weights else _OTHER_DEVICES
    if copies > 1:
        flags.insert(0, "fewer --workers")
    where = "all devices together" if spread else str(resolved.device)
    several = f" in {copies} processes" if copies > 1 else ""
    raise OutOfMemoryError(
        f"the model {resolved.source.name}{several} {in_words(copies * needed, free)} on {where}; "
        f"use {' or '.join(flags)}"
    )


def _stored_bytes(source: ModelRef, revision: str | None) -> int | None:
    """Bytes of a model's weight files, without downloading any; None where nothing tells."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if source.local:
        return sum(file.stat().st_size for file in loaded_files(Path(source.location)))
    repo, total = source.location, 0
    with explained(source, "its weights"):
        names = check_references(source.name, hub_reader(repo, str(revision))) or [WHOLE]
        for name in names:
            path = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(path, str):
                total += os.path.getsize(path)
                continue
            size = get_hf_file_metadata(hf_hub_url(repo, name, revision=revision)).size
            if size is None:
                return None
            total += size
    return total


def _whole(model: Any) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _replacing(model: Any, forms: Mapping[str, type[PackedLinear]]) -> WeightBytes:
    """Of a model whose layers take another form one by one, the smallest first.

    Args:
        model: on the meta device.
        forms: of the layers, by name.
    """
    shared = _shared(model)
    now = most = _whole(model)
    for name in sorted(forms, key=lambda name: _numbers(model.get_submodule(name))):
        layer, form = model.get_submodule(name), forms[name]
        held = form.nbytes_of(layer)
        most = max(most, now + held + form.packing_nbytes_of(layer))
        # A table of words that is the output layer, too, stays what it is.
        now += held - (0 if id(layer.weight) in shared else layer.weight.nbytes)
    if not forms:
        return WeightBytes(most, now)
    # What stays as it is is copied at the end, a tensor at a time.
    replaced = {id(model.get_submodule(name).weight) for name in forms} - shared
    largest = max((x.nbytes for x in model.parameters() if id(x) not in replaced), default=0)
    return WeightBytes(max(most, now + largest), now)


def _by_bitsandbytes(model: Any, resolved: ResolvedModel) -> WeightBytes:
    """Each weight comes to the device whole, and is quantized there."""
    from torch import nn

    from dycoke_cli.kernels.quantize import kept_whole

    whole = set(kept_whole(resolved.config, str(resolved.options.quantize)))
    quantized = [
        part
        for name, part in model.named_modules()
        if type(part) is nn.Linear
        and not any(name == other or name.startswith(f"{other}.") for other in whole)
    ]
    byte = resolved.options.quantize == "int8"
    scaled = _NF4 if resolved.device.type == "cuda" else _NF4_ON_CPU
    after = float(_whole(model))
    for part in quantized:
        rows = part.out_features * _FLOAT32  # the scales of int8
        small = _numbers(part) + rows if byte else _numbers(part) * scaled
        after += small - part.weight.nbytes
    largest = max((part.weight.nbytes for part in quantized), default=0)
    return WeightBytes(int(after + largest), int(after))


def _shared(model: Any) -> set[int]:
    """The parameters that stand in several places."""
    seen: set[int] = set()
    twice: set[int] = set()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        (twice if id(parameter) in seen else seen).add(id(parameter))
    return twice


def _numbers(layer: nn.Linear) -> int:
    return layer.weight.numel()

"""Memory that loading a model needs, and whether it fits.

The size is computed before anything is allocated: the stock class is built on the meta device,
where weights have shapes but no storage. So it is the same for stored, not yet downloaded and
random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import ModelError, OutOfMemoryError
from dycoke_cli.models.resolve import ResolvedModel, file_bytes
from dycoke_cli.resources import in_words

if TYPE_CHECKING:
    from torch import nn

    from dycoke_cli.kernels.linear import PackedLinear

_FLOAT32 = 4
# Bytes per weight of bitsandbytes' NF4 with double quantization: half a byte per weight, a 1-byte
# scale per 64 weights, and a 4-byte scale per 256 of those scales.
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
# On a CPU with bfloat16 the first question repacks them, with a 2-byte scale per 64 weights.
_NF4_ON_CPU = 0.5 + 2 / 64
# A model whose weights need more than this many times its files (plus a small amount) has a
# config.json of another model. 8-bit weights loaded as float32 and packed need 8 times their file,
# which is legitimate; the limit is twice that.
_MAX_OVER_STORED = 16
_SMALL = 256 << 20


@dataclass(frozen=True)
class WeightBytes:
    """Memory of a model's weights."""

    loading: int  # bytes at the peak of loading; at least `loaded`
    loaded: int  # bytes once it is loaded, with its layers packed or quantized


def needed_bytes(resolved: ResolvedModel, built: Any = None) -> int | None:
    """Bytes at the peak of loading a model: see `weight_bytes`."""
    weights = weight_bytes(resolved, built)
    return None if weights is None else weights.loading


def weight_bytes(resolved: ResolvedModel, built: Any = None) -> WeightBytes | None:
    """Memory of a model's weights, summed over its modules before any weights are read.

    Args:
        built: result of `without_weights` for it; None builds it.

    Returns:
        Bytes on all its devices together; None for a model that is stored quantized and whose file
        sizes are unknown.
    """
    from dycoke_cli.kernels.linear import Bfloat16Linear, can_pack
    from dycoke_cli.kernels.quantize import by_bitsandbytes, stored_quantized
    from dycoke_cli.kernels.replacing import choose_kernels, eligible, may_pack

    # On the meta device such a model has its original dtype; only the files have the true size.
    if stored_quantized(resolved.config):
        stored = file_bytes(resolved.source, resolved.revision)
        return None if stored is None else WeightBytes(stored, stored)
    model, options = built or resolved.build(), resolved.options
    quantized = options.quantize is not None
    if options.quantize is not None and by_bitsandbytes(options.quantize, resolved.device):
        return _by_bitsandbytes(model, resolved)
    fast = options.kernels == "fast"
    # Layers are packed on a CPU only, and only if the whole model is there.
    if resolved.device.type != "cpu" or options.device_map is not None or not (quantized or fast):
        return WeightBytes(_whole(model), _whole(model))
    choice = choose_kernels(model, quantized)
    forms: dict[str, type[PackedLinear]] = dict(choice.int8)
    if fast and can_pack():
        layers = eligible(model)
        packed = (n for n in choice.packed if n not in forms and may_pack(layers[n]))
        forms |= dict.fromkeys(packed, Bfloat16Linear)
    return _replacing(model, forms)


def check_room(
    resolved: ResolvedModel, free: int | None, copies: int = 1, built: Any = None
) -> None:
    """Check that a model fits into memory.

    Args:
        free: free bytes on its device, or on all devices with a device map; None if unknown.
    """
    needed = needed_bytes(resolved, built)
    source = resolved.source
    # A config.json with wrong sizes would otherwise be reported as too little memory, and the user
    # would look for a larger machine.
    if needed is not None and source.local and not resolved.options.random_weights:
        stored = file_bytes(source, None) or 0
        if needed > _MAX_OVER_STORED * stored + _SMALL:
            raise ModelError(
                f"{source.name} can't be loaded: by its config.json it would take "
                f"{needed / 1e9:.3g} GB, and its weight files have {stored / 1e9:.2g} GB; download "
                "it again"
            )
    if needed is None or free is None or copies * needed <= free:
        return
    where = str(resolved.device) if resolved.options.device_map is None else "all devices together"
    several = f" in {copies} processes" if copies > 1 else ""
    fewer = "fewer --workers or " if copies > 1 else ""
    raise OutOfMemoryError(
        f"the model {source.name}{several} {in_words(copies * needed, free)} on {where}; use "
        f"{fewer}a smaller --model, or what `dycoke ask --estimate` names as fitting"
    )


def _whole(model: Any) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _replacing(model: Any, forms: Mapping[str, type[PackedLinear]]) -> WeightBytes:
    """Memory of a model whose layers are replaced one by one, the smallest first.

    This simulates `kernels.replacing._replace`, which frees each stock layer after its packed copy
    is made. So the peak is in the middle of loading, and it depends on the order.
    """
    shared = _shared(model)
    now = peak = _whole(model)
    for name in sorted(forms, key=lambda name: _numbers(model.get_submodule(name))):
        layer, form = model.get_submodule(name), forms[name]
        packed = form.nbytes_of(layer)
        peak = max(peak, now + packed + form.packing_nbytes_of(layer))
        # Tied weights aren't freed: the embedding table still uses those of the output layer.
        now += packed - (0 if id(layer.weight) in shared else layer.weight.nbytes)
    if not forms:
        return WeightBytes(peak, now)
    # At the end all other tensors are copied one at a time, to release the file that is mapped.
    # Shared tensors aren't replaced in the module that keeps them, so they are copied as well.
    replaced = {id(model.get_submodule(name).weight) for name in forms} - shared
    largest = max((x.nbytes for x in model.parameters() if id(x) not in replaced), default=0)
    return WeightBytes(max(peak, now + largest), now)


def _by_bitsandbytes(model: Any, resolved: ResolvedModel) -> WeightBytes:
    """Memory of a model that bitsandbytes quantizes.

    Each weight is moved to the device unquantized and quantized there, so the peak is the quantized
    model plus the largest weight.
    """
    from torch import nn

    from dycoke_cli.kernels.quantize import skipped_modules

    skipped = set(skipped_modules(resolved.config, str(resolved.options.quantize), model))
    quantized = [
        part
        for name, part in model.named_modules()
        if type(part) is nn.Linear
        and not any(name == other or name.startswith(f"{other}.") for other in skipped)
    ]
    int8 = resolved.options.quantize == "int8"
    nf4 = _NF4 if resolved.device.type == "cuda" else _NF4_ON_CPU
    loaded = float(_whole(model))
    for part in quantized:
        scales = part.out_features * _FLOAT32  # int8 has one per row
        small = _numbers(part) + scales if int8 else _numbers(part) * nf4
        loaded += small - part.weight.nbytes
    largest = max((part.weight.nbytes for part in quantized), default=0)
    return WeightBytes(int(loaded + largest), int(loaded))


def _shared(model: Any) -> set[int]:
    """`id` of each parameter that several modules share (tied weights)."""
    seen: set[int] = set()
    twice: set[int] = set()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        (twice if id(parameter) in seen else seen).add(id(parameter))
    return twice


def _numbers(layer: nn.Linear) -> int:
    return layer.weight.numel()

"""Custom CPU kernels in place of a stock model's layers: which, and their installation.

They are selected by the instruction sets of this processor; docs/speed.md has the times behind the
rules, which look at shapes only where the sign of a difference depends on them.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from dycoke_cli.kernels.attention import DECODE_ONLY, NAME, ON_GPU
from dycoke_cli.kernels.linear import (
    GELU,
    GELU_TANH,
    NO_EPILOGUE,
    Bfloat16Linear,
    Epilogue,
    FbgemmInt8Linear,
    Int8Linear,
    PackedLinear,
    PairedInt8Linear,
    can_pack,
    int8_kernels,
)
from dycoke_cli.kernels.processor import emulates_bfloat16, instructions
from dycoke_cli.resources import main_memory
from dycoke_cli.stock.forward import SDPA, depends_on_name
from dycoke_cli.stock.private_api import attention_implementation

MIN_INT8_OUTPUTS = 256
"""Minimum outputs of a quantized layer: below, quantizing a token takes longer than it saves.

Routers and gates of mixtures of experts are smaller, too; rounding could select another expert.
"""
MIN_PACKED_WEIGHTS = 512 * 512  # equivalent: speed alone
"""Minimum weights of a layer that is packed."""
_BLOCK_BYTES = 32 * 1024**2  # equivalent: memory alone
"""Bytes of a tensor that are copied at once."""
_TRIM_BYTES = 64 * 1024**2
"""Bytes of freed weights after which the C library returns free memory to the system."""
# Activations for which oneDNN has the formula of transformers.
_EPILOGUES: dict[type[nn.Module], Epilogue] = {
    type(ACT2FN["gelu"]): GELU,
    type(ACT2FN["gelu_pytorch_tanh"]): GELU_TANH,
}

_Replacement = Callable[[nn.Linear], PackedLinear]


def use_custom_attention(model: Any, name: str = NAME) -> bool:
    """Set custom attention on the parts of a model that run SDPA; returns whether it was set.

    Eager attention stays: it is that of a model with sinks or a soft cap, which SDPA doesn't have.
    On a GPU the kernels are stock, and only their masks are ours.

    Args:
        name: registered name of the attention on a CPU; that of SDPA leaves it.
    """
    device = model.device.type
    if device != "cuda" and (name == SDPA or device != "cpu"):
        return False
    ours = ON_GPU if device == "cuda" else name
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    replaced = [
        part
        for part in parts
        if attention_implementation(part) == SDPA and not depends_on_name(part)
    ]
    # By configuration, which a model and its base model share.
    names = {id(part.config): attention_implementation(part) for part in parts}
    names |= {id(part.config): ours for part in replaced}
    for part in parts:  # a model before its parts, which it sets, too
        part.set_attn_implementation(names[id(part.config)])
    return bool(replaced)


def use_int8(
    model: Any,
    kernels: Mapping[str, type[PackedLinear]] | None = None,
    on_rounded: Callable[[int, int], None] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Quantize the linear layers of the decoder, output and vision tower to int8, in place.

    Args:
        kernels: class for each layer, by layer name; None is the default one for all of
            `to_round`.
        dtype: that all else is converted to, and that has every value of the model's own; None
            leaves it.
    """
    if kernels is None:
        kernels = dict.fromkeys(to_round(model), next(iter(int8_kernels().values())))

    done = itertools.count(1)

    def rounding(kind: type[PackedLinear]) -> _Replacement:
        def pack(linear: nn.Linear) -> PackedLinear:
            if on_rounded is not None:
                on_rounded(next(done), len(kernels))
            return kind(linear)

        return pack

    _replace(model, {name: rounding(kind) for name, kind in kernels.items()})
    _copy_others(model, dtype)


def use_packed(model: Any, names: Collection[str] | None = None) -> bool:
    """Pack the weights of linear layers for this CPU, in place; returns whether any were.

    Values don't change. An output layer tied to the embeddings needs memory of its own afterwards.

    Args:
        names: of the layers; None is all of `to_pack`. Layers that aren't stock are skipped.
    """
    if model.device.type != "cpu" or not can_pack():
        return False
    wanted = to_pack(model) if names is None else names
    packed = [name for name, layer in eligible(model).items() if name in wanted and may_pack(layer)]
    # An activation that moves into the epilogue of a layer must not run a second time.
    epilogues = _activations(model, packed)
    # The modules are replaced instead of removed, because the forward of the MLP still calls them.
    for _, activation in epilogues.values():
        model.set_submodule(activation, nn.Identity())

    def pack(name: str) -> _Replacement:
        return lambda linear: Bfloat16Linear(linear, epilogues.get(name, (NO_EPILOGUE, ""))[0])

    _replace(model, {name: pack(name) for name in packed})
    if packed:
        _copy_others(model)
    return bool(packed)


def to_round(model: Any) -> list[str]:
    """Names of the layers to quantize to 8 bits."""
    return [n for n, part in eligible(model).items() if part.out_features >= MIN_INT8_OUTPUTS]


def to_pack(model: Any) -> list[str]:
    """Names of the layers that are large enough to pack."""
    return [
        name
        for name, layer in eligible(model).items()
        if may_pack(layer) and layer.weight.numel() >= MIN_PACKED_WEIGHTS
    ]


def may_pack(layer: nn.Linear) -> bool:
    """Whether a layer has the dtype that can be packed."""
    return layer.weight.dtype == torch.bfloat16


def eligible(model: Any) -> dict[str, nn.Linear]:
    """Linear layers that may be replaced, by name: those of transformer blocks, and the output.

    A block is a module with an attention among its children. So patch embeddings and the projector
    stay stock: they are small, and token merging compares the projector's outputs, which rounding
    would change. Experts whose weights are one tensor aren't linear layers and stay stock, too.
    """
    output = model.get_output_embeddings()
    inside = {
        id(part)
        for block in model.modules()
        if any("attn" in name or "attention" in name for name, _ in block.named_children())
        for part in block.modules()
    }
    return {
        name: part
        for name, part in model.named_modules()
        if type(part) is nn.Linear and (id(part) in inside or part is output)
    }


def packed_bytes(model: Any) -> int:
    """Bytes of packed weights, which aren't among a model's parameters."""
    return sum(part.packed_bytes for part in model.modules() if isinstance(part, PackedLinear))


def _replace(model: Any, replacements: Mapping[str, _Replacement]) -> None:
    """Replace layers one by one, freeing the stock weights of each before the next is packed.

    The peak of memory is a whole model plus the copy of one layer. The largest layer comes last,
    when quantized copies of the others have already freed memory; `load_memory._replacing` predicts
    the peak from this order.

    Args:
        replacements: of each layer, by layer name.
    """
    freed, mapped = 0, mapped_files()  # equivalent: a byte more
    for name in sorted(replacements, key=lambda name: model.get_submodule(name).weight.numel()):
        stock = model.get_submodule(name)
        freed += stock.weight.nbytes
        model.set_submodule(name, replacements[name](stock))
        forget(stock.weight, mapped)
        del stock
        if freed >= _TRIM_BYTES:
            freed = 0
            _trim()


def _copy_others(model: Any, dtype: torch.dtype | None = None) -> None:
    """Copy all tensors that weren't replaced, converting the parameters to a dtype.

    They may be mapped from the model's file: a single view would keep the whole mapping, with the
    stock weights, in memory.
    """
    mapped = mapped_files()
    for parameter in model.parameters():
        parameter.data = _copied(parameter.data, dtype, mapped)
    for buffer in model.buffers():
        buffer.data = buffer.data.clone()
    _trim()
    if dtype is None:
        return
    for part in model.modules():
        if isinstance(part, PackedLinear):
            part.set_dtype(dtype)
        if hasattr(part, "config"):
            part.config.dtype = dtype


def _copied(
    stored: torch.Tensor, dtype: torch.dtype | None, mapped: Sequence[range]
) -> torch.Tensor:
    """A tensor's copy, made in blocks: an embedding table may be a third of the weights."""
    copied = torch.empty_like(stored, dtype=dtype)
    sources, targets = torch.atleast_1d(stored, copied)
    rows = max(len(sources) * _BLOCK_BYTES // max(stored.nbytes, 1), 1)
    for source, target in zip(sources.split(rows), targets.split(rows), strict=True):
        target.copy_(source)
        forget(source, mapped)
    return copied


def mapped_files() -> list[range]:
    """Addresses of this process's private mappings of files; none where the system isn't Linux."""
    try:
        lines = Path("/proc/self/maps").read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:  # address range, permissions, offset, device, inode and, of files, the path
        addresses, permissions, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith(b"/") and permissions.endswith(b"p"):
            first, last = addresses.split(b"-")
            found.append(range(int(first, 16), int(last, 16)))
    return found


def forget(tensor: torch.Tensor, mapped: Sequence[range]) -> None:
    """Let the system take back memory of a tensor that was read from a mapped file.

    As long as one tensor of a file is in use, all that were read stay in memory, beside their
    copies. Read once more, it is read from the file again.

    Args:
        mapped: result of `mapped_files`.
    """
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    inside = any(first in addresses and last - 1 in addresses for addresses in mapped)
    if first < last and inside and tensor.is_contiguous():
        place, length = ctypes.c_void_p(first), ctypes.c_size_t(last - first)
        ctypes.CDLL(None).madvise(place, length, mmap.MADV_DONTNEED)


def _trim() -> None:
    """Return freed memory to the system; glibc would keep up to half of the weights in reserve."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _activations(model: Any, packed: list[str]) -> dict[str, tuple[Epilogue, str]]:
    """Map each layer whose output only feeds an activation to its epilogue and the activation.

    By the names `fc1` and `activation_fn`, which MLPs of CLIP-like vision towers have in common.
    """
    found = {}
    for name, part in model.named_modules():
        first, activation = f"{name}.fc1", f"{name}.activation_fn"
        epilogue = _EPILOGUES.get(type(getattr(part, "activation_fn", None)))  # type: ignore[arg-type]
        if epilogue is not None and first in packed:
            found[first] = epilogue, activation
    return found


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

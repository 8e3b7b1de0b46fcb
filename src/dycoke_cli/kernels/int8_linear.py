"""Int8 linear layers on CPUs, and their weights on disk.

Weights are quantized per output channel, activations per token.

There are two kernels: oneDNN's, which is faster for prompts, and FBGEMM's, for single tokens, and
for torch builds or processors without the first. Both use integer instructions (VNNI; oneDNN also
AMX). `kernels/choice.py` selects one of them for each layer, or both.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from shutil import rmtree
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from dycoke_cli.errors import OutputError
from dycoke_cli.kernels.instruction_sets import instructions
from dycoke_cli.kernels.linear import PackedLinear
from dycoke_cli.kernels.quantize import pack, restored, saved
from dycoke_cli.kernels.tensor_files import (
    OtherContentError,
    Tensors,
    read_tensors,
    write_tensors,
)
from dycoke_cli.storage.cache_folder import CacheFiles, kept

# Tokens per product: few enough for the passes around it to hit the CPU cache, and enough for few
# calls.
TOKENS = 256
# The same for FBGEMM, whose float32 copies then take a few megabytes; more isn't faster.
FBGEMM_TOKENS = 512
# `embedding_bag_byte_prepack` appends scale and minimum to the bytes of a token, as two float32.
_TAIL = 8
# oneDNN pads the inputs of a layer to multiples of so many bytes (measured with AVX-512).
_BLOCK = 64
# Outputs that FBGEMM packs at once: for more it takes up to eight times as long per weight.
_FBGEMM_OUTPUTS = 8192
# Smallest divisor. It replaces 0 for a token of zeros, whose outputs are the bias.
_TINY = torch.finfo(torch.float32).tiny
_FILTERS = threading.Lock()
FEW_TOKENS = 4
"""Most tokens that a layer with both kernels multiplies by FBGEMM's (measured with AMX)."""

Layout = Mapping[str, tuple[torch.dtype, tuple[int, ...] | None]]
"""Dtype and shape of each tensor that is kept of a layer, by name; None: one axis of any length."""


class RoundedLinear(PackedLinear):
    """Linear layer whose weights are rounded to int8 and then packed; base class of both kernels.

    Args:
        kept: result of `kept` of an earlier layer with these weights, which then aren't read; None
            rounds them.
    """

    def __init__(self, linear: nn.Linear, kept: Tensors | None = None) -> None:
        super().__init__(linear)
        self.packed_bytes = self.nbytes_of(linear)
        if kept is None:
            self._round(linear.weight.detach())
        else:
            self._restore(kept)

    def kept(self) -> Tensors:
        """Tensors to restore the layer from, as `layout` describes them."""
        raise NotImplementedError

    @staticmethod
    def layout(linear: nn.Linear) -> Layout:
        """Dtypes and shapes of the tensors that are kept of a layer."""
        raise NotImplementedError

    def _round(self, weight: torch.Tensor) -> None:
        raise NotImplementedError

    def _restore(self, kept: Tensors) -> None:
        raise NotImplementedError


class Int8Linear(RoundedLinear):
    """Linear layer with int8 weights and uint8 activations, multiplied by oneDNN.

    Activations are quantized asymmetrically per token: 256 levels between its minimum and maximum.
    So a token with massive activations, or of one sign only, doesn't affect the accuracy of others.
    With x = minimum + scale · q, and w = s · r for an output, the product is

        Σ x · w = scale · s · Σ q · r + minimum · s · Σ r

    where oneDNN computes s · Σ q · r, and s · Σ r is a constant per output (`_sums`).

    Quantization uses a torch kernel for rowwise quantized embedding tables, because it does in one
    pass what would take several. It appends 8 bytes with scale and minimum to each token. The
    weights have zeros there, so the appended bytes don't change the product.

    A single NaN in a token may be lost; if all numbers are NaN, so are the outputs.

    Args: see `RoundedLinear`.
    """

    def _round(self, weight: torch.Tensor) -> None:
        rounded, self._scales = round_weight(weight)
        # Summed in parts, because torch makes a float32 copy of what it sums.
        sums = [rows.sum(1, dtype=torch.float32) for rows in rounded.split(TOKENS)]
        self._sums = torch.cat(sums).mul_(self._scales)
        self._zero = torch.zeros(1, dtype=torch.int64)
        self._packed = pack(rounded)

    def _restore(self, kept: Tensors) -> None:
        # Copies, because stored ones are mapped from a file, and a view would keep it in memory.
        self._scales, self._sums = kept["scales"].clone(), kept["sums"].clone()
        self._zero = torch.zeros(1, dtype=torch.int64)
        shape = self.out_features, self.in_features + _TAIL
        self._packed, self._memory = restored(kept["packed"], kept["layout"], shape)

    def kept(self) -> Tensors:
        """See `RoundedLinear`: packed weights with their layout, scales and sums."""
        return {**saved(self._packed), "scales": self._scales, "sums": self._sums}

    @staticmethod
    def layout(linear: nn.Linear) -> Layout:
        """See `RoundedLinear`."""
        numbers = torch.float32, (linear.out_features,)
        return {
            "packed": (torch.uint8, None),
            "layout": (torch.uint8, None),
            "scales": numbers,
            "sums": numbers,
        }

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """One byte per weight, and a 4-byte scale and sum per output.

        Inputs, including the appended bytes, are padded to whole blocks.
        """
        inputs = -(-(linear.in_features + _TAIL) // _BLOCK) * _BLOCK
        return linear.out_features * (inputs + 2 * 4)

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """Quantized weights before packing."""
        return linear.weight.numel()

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens · weightᵀ + bias: `[N, in]` -> `[N, out]`."""
        bias = None if self.bias is None else self.bias.float()
        if len(tokens) <= TOKENS:
            return self._block(tokens, bias).to(tokens.dtype)
        output = tokens.new_empty(len(tokens), self.out_features)
        for begin in range(0, len(tokens), TOKENS):
            block = slice(begin, begin + TOKENS)
            output[block] = self._block(tokens[block], bias)
        return output

    def _block(self, tokens: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Product for a block of tokens: float32, `[N, out]`; see the class for the formula."""
        rounded = torch.ops.quantized.embedding_bag_byte_prepack(tokens.float())
        # A plain clone of one row keeps its stride, which needn't be a multiple of a float32.
        tail = rounded[:, self.in_features :].clone(memory_format=torch.contiguous_format)
        scales, minima = tail.view(torch.float32).split(1, 1)
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, self._packed, self._scales, self._zero, None, 1.0, 0, torch.float32,
            "none", [], "",
        )  # fmt: skip
        if bias is None:
            product.mul_(scales)
        else:
            torch.addcmul(bias, product, scales, out=product)
        return torch.addcmul(product, minima, self._sums, out=product)


class FbgemmInt8Linear(RoundedLinear):
    """Linear layer with int8 weights and activations, multiplied by FBGEMM.

    FBGEMM quantizes its whole input with one scale. In language models some tokens have activations
    a thousand times those of others, which would be rounded to 0. So each token is divided by its
    largest absolute value first, and its outputs are multiplied by that. A token's rounding still
    depends slightly on the other tokens of the block, whose extremes determine the scale.

    Args: see `RoundedLinear`.
    """

    def _round(self, weight: torch.Tensor) -> None:
        FbgemmInt8Linear._restore(self, self.rounded(weight))

    def _restore(self, kept: Tensors) -> None:
        parts = [kept[name].split(_FBGEMM_OUTPUTS) for name in ("weight", "scales")]
        # Packing runs on one thread, and an output layer can have a fifth of a model's weights.
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            self._parts = list(threads.map(_pack_for_fbgemm, *parts))

    def kept(self) -> Tensors:
        """See `RoundedLinear`: weights and scales; packed ones can't be had as bytes."""
        with _undeprecated():
            parts = [torch.ops.quantized.linear_unpack(packed)[0] for packed in self._parts]
        return {
            "weight": torch.cat([part.int_repr() for part in parts]),
            "scales": torch.cat([part.q_per_channel_scales().float() for part in parts]),
        }

    @staticmethod
    def rounded(weight: torch.Tensor) -> Tensors:
        """Rounded weights and their scales, as `layout` describes them.

        Args:
            weight: `[out, in]`, floats.
        """
        numbers = weight.float()
        scales, zeros = _scales(numbers), torch.zeros(len(weight), dtype=torch.int64)
        with _undeprecated():
            rounded = torch.quantize_per_channel(numbers, scales, zeros, 0, torch.qint8)
        return {"weight": rounded.int_repr(), "scales": scales}

    @staticmethod
    def layout(linear: nn.Linear) -> Layout:
        """See `RoundedLinear`."""
        outputs = linear.out_features
        return {
            "weight": (torch.int8, (outputs, linear.in_features)),
            "scales": (torch.float32, (outputs,)),
        }

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """One byte per weight, and a 4-byte scale, zero point and sum per output."""
        return linear.out_features * (linear.in_features + 3 * 4)

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """Weights in float32, and quantized before packing."""
        return 5 * linear.weight.numel()

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens · weightᵀ + bias: `[N, in]` -> `[N, out]`."""
        if len(tokens) == 1:  # the scale of the input is that of the token already
            product = self._product(tokens.float())
            return (product if self.bias is None else product.add_(self.bias)).to(tokens.dtype)
        output = tokens.new_empty(len(tokens), self.out_features)
        for begin in range(0, len(tokens), FBGEMM_TOKENS):
            block = tokens[begin : begin + FBGEMM_TOKENS].float()
            largest = block.abs().amax(1, keepdim=True).clamp_min_(_TINY)
            product = self._product(block / largest).mul_(largest)
            output[begin : begin + FBGEMM_TOKENS] = (
                product if self.bias is None else product.add_(self.bias)
            )
        return output

    def _product(self, tokens: torch.Tensor) -> torch.Tensor:
        # With `reduce_range` activations have 7 bits, so that 16-bit sums can't overflow.
        products = [
            torch.ops.quantized.linear_dynamic(tokens, part, saturates()) for part in self._parts
        ]
        return products[0] if len(products) == 1 else torch.cat(products, 1)


class PairedInt8Linear(Int8Linear, FbgemmInt8Linear):
    """Linear layer with both kernels, and with two copies of its weights.

    oneDNN's layout makes prompts fast. A single token reads it at half to five sixths of the speed
    of FBGEMM's; with AMX its product fills one row of sixteen in a tile.

    Args: see `RoundedLinear`.
    """

    def _round(self, weight: torch.Tensor) -> None:
        Int8Linear._round(self, weight)
        FbgemmInt8Linear._round(self, weight)

    def _restore(self, kept: Tensors) -> None:
        Int8Linear._restore(self, kept)
        FbgemmInt8Linear._restore(self, kept)

    def kept(self) -> Tensors:
        """See `RoundedLinear`: those of both kernels, which have the same scales."""
        return {**FbgemmInt8Linear.kept(self), **Int8Linear.kept(self)}

    @staticmethod
    def layout(linear: nn.Linear) -> Layout:
        """See `RoundedLinear`."""
        return {**FbgemmInt8Linear.layout(linear), **Int8Linear.layout(linear)}

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """Those of both copies."""
        return Int8Linear.nbytes_of(linear) + FbgemmInt8Linear.nbytes_of(linear)

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """FBGEMM's, which is packed last, and needs more."""
        return FbgemmInt8Linear.packing_nbytes_of(linear)

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens · weightᵀ + bias: `[N, in]` -> `[N, out]`."""
        kernel = FbgemmInt8Linear if len(tokens) <= FEW_TOKENS else Int8Linear
        return kernel.product(self, tokens)


def round_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize weights to int8 with one symmetric scale per row: its largest magnitude is 127.

    Args:
        weight: `[out, in]`, floats.

    Returns:
        `[out, in + 8]`, int8, with 8 zeros appended to each row, and the scales, `[out]`, float32.
    """
    scales = _scales(weight)
    rounded = torch.zeros(len(weight), weight.shape[1] + _TAIL, dtype=torch.int8)
    for begin in range(0, len(weight), TOKENS):  # a copy of all in float32 would be large
        rows = slice(begin, begin + TOKENS)
        rounded[rows, :-_TAIL] = (weight[rows].float() / scales[rows, None]).round_()
    return rounded, scales


def int8_kernels() -> dict[str, type[RoundedLinear]]:
    """Int8 kernels that work on this machine, by name; the one for prompts comes first."""
    kernels: dict[str, type[RoundedLinear]] = {"int8 (FBGEMM)": FbgemmInt8Linear}
    return {"int8 (oneDNN)": Int8Linear, **kernels} if onednn_works() else kernels


@cache
def onednn_works() -> bool:
    """Whether oneDNN's product is available, and correct for the largest values.

    Without VNNI, processors add two 8-bit products in 16 bits, which may overflow.
    """
    # Constants, because random numbers would advance the generator that sampling uses.
    layer = nn.utils.skip_init(nn.Linear, 64, 16)
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.fill_(0.5)
        tokens = torch.ones(2, 64)
        tokens[:, 0] = -1
        exact = layer(tokens)
        try:
            found = Int8Linear(layer)(tokens)
        except (AttributeError, RuntimeError):  # no such operation, or not on this processor
            return False
    return bool((found - exact).abs().max() < 0.05 * exact.abs().max())


@cache
def saturates() -> bool:
    """Whether FBGEMM's 16-bit sums of two products overflow, as they do without VNNI."""
    weight, x = torch.ones(16, 64), torch.ones(1, 64)
    x[0, 0] = -1
    exact = x.sum()
    packed = _pack_for_fbgemm(**FbgemmInt8Linear.rounded(weight))
    product = torch.ops.quantized.linear_dynamic(x, packed, False)
    return bool((product - exact).abs().max() > 0.05 * exact)


def _scales(weight: torch.Tensor) -> torch.Tensor:
    low, high = weight.aminmax(dim=1)  # unlike abs().amax(), it makes no copy of the weights
    return (torch.maximum(-low, high).float() / 127).clamp_min_(_TINY)


def _pack_for_fbgemm(weight: torch.Tensor, scales: torch.Tensor) -> Any:
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    with _undeprecated():
        rounded = torch._make_per_channel_quantized_tensor(weight, scales.double(), zeros, 0)
    return torch.ops.quantized.linear_prepack(rounded, None)


@contextmanager
def _undeprecated() -> Iterator[None]:
    """Hide that torch 2.13 and later warn of quantized tensors, which are deprecated.

    Filters of warnings are those of the whole process: one thread at a time may change them.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


# Int8 weights on disk, so that a model is quantized once.
#
# A folder per model and processor, a file per layer: memory stays that of one layer, and an
# interrupted first start is resumed. A file has the weights as oneDNN packed them; FBGEMM, whose
# packed weights can't be had as bytes, packs the rounded ones at each start.


VERSION = 5
"""Of the rounding, the packing and the files; another one is rounded anew."""

MIN_CACHED_WEIGHTS = 100_000_000
"""Minimum weights in int8 layers: fewer are rounded in less than a second."""


class Int8Cache:
    """Int8 weights of one model on this processor.

    Args:
        identity: of the model: its weights and dtype, as JSON values.

    Attributes:
        problems: sentences about files that weren't used or written, each once.
    """

    def __init__(self, identity: Mapping[str, Any], name: str) -> None:
        model = kept("int8") / _digest(identity)
        self.folder = model / _digest([VERSION, torch.__version__, instructions()])
        self.problems: list[str] = []
        self._name = name
        self._files = CacheFiles(self.folder, ".safetensors", 0)
        self._writes = True
        if not self.folder.exists() and model.is_dir() and any(model.iterdir()):
            self._add(
                f"the int8 weights of {name} in the cache are of another processor or release of "
                "torch; they were packed anew"
            )

    def read(self, layer: str, kernel: str, layout: Layout) -> Tensors | None:
        """Tensors that were kept of a layer; None if they aren't there, or damaged.

        Those of another kernel aren't damaged: which one a layer gets depends on the main memory.

        Args:
            layer: name of the layer.
            kernel: name of the class of the int8 layer.
            layout: of its tensors.
        """
        try:
            tensors = read_tensors(self._files.path(layer), kernel)
            _check(tensors, layout)
        except (FileNotFoundError, OtherContentError):
            return None
        except (OSError, SafetensorError, ValueError):
            self.refuse()
            return None
        return tensors

    def refuse(self) -> None:
        """Note that tensors of a layer can't be used."""
        self._add(
            f"the int8 weights of {self._name} in the cache were damaged; the layers concerned "
            "were packed anew"
        )

    def write(self, layer: str, kernel: str, tensors: Tensors) -> None:
        """Store the tensors to keep of a layer; after a failure, nothing of the model is stored.

        Args: see `read`.
        """
        if not self._writes:
            return
        try:
            self._files.make_private()
            write_tensors(self._files.path(layer), kernel, tensors)
        except (OSError, SafetensorError, OutputError) as error:
            self._writes = False
            rmtree(self.folder, ignore_errors=True)
            self._add(
                f"the int8 weights of {self._name} can't be kept in {self.folder} "
                f"({_reason(error)}); each start packs them anew"
            )

    def _add(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)


def _check(tensors: Tensors, layout: Layout) -> None:
    if tensors.keys() != layout.keys():
        raise ValueError("of another layout")
    for name, tensor in tensors.items():
        dtype, shape = layout[name]
        any_length = shape is None and tensor.dim() == 1
        if tensor.dtype != dtype or not (any_length or tuple(tensor.shape) == shape):
            raise ValueError("of another layer")


def _digest(about: Any) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)

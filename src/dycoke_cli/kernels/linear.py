"""Linear layers on CPUs with packed weights: in bfloat16 for oneDNN, and in int8.

In int8 weights are quantized per output channel, activations per token. There are two kernels:
oneDNN's, which is faster for prompts, and FBGEMM's, for single tokens, and for torch builds or
processors without the first. Both use integer instructions (VNNI; oneDNN also AMX).
`kernels/replacing.py` selects one of them for each layer, or both.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn

# Number of tokens that the layout is made for; it is as fast for other numbers.
BFLOAT16_TOKENS = 1024
Epilogue = tuple[str, str]
"""Activation in oneDNN's terms: its name and its algorithm."""
NO_EPILOGUE: Epilogue = ("none", "")
GELU: Epilogue = ("gelu", "none")
GELU_TANH: Epilogue = ("gelu", "tanh")


class PackedLinear(nn.Module):
    """Linear layer that stores only packed weights; for inference on a CPU.

    Attributes:
        in_features: of the layer.
        out_features: of the layer.
        bias: `[out]`, shared with the stock layer, or None.
        weight: `[out, in]`: NaN without storage, with the dtype, shape and device of the weights.
    """

    packed_bytes: int  # of the packed weights

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.weight = linear.weight.detach()
        self.set_dtype(linear.weight.dtype)
        self.packed_bytes = self.nbytes_of(linear)
        self._pack(linear.weight.detach())

    def _pack(self, weight: torch.Tensor) -> None:
        """Keep the weights `[out, in]` in the layout of the kernel."""
        raise NotImplementedError

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Set the dtype of `weight`, by which stock code converts inputs."""
        # NaN makes any use of the values obvious, and `expand` repeats one number by strides of 0.
        placeholder = self.weight.new_full((), float("nan"), dtype=dtype)
        self.weight = placeholder.expand(self.out_features, self.in_features)

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """Bytes of a layer's weights in this layout."""
        raise NotImplementedError

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """Temporary bytes for packing a layer, besides the layer and its packed weights."""
        return 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute x · weightᵀ + bias.

        Args:
            x: `[..., in]`, floats.

        Returns:
            `[..., out]` in the dtype of `x`.
        """
        product = self.product(x.reshape(-1, self.in_features))
        return product.view(*x.shape[:-1], self.out_features)

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens · weightᵀ + bias: `[N, in]` -> `[N, out]`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Arguments for `repr`, as of `nn.Linear`."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


class Bfloat16Linear(PackedLinear):
    """Linear layer with bfloat16 weights, packed for oneDNN once; with an optional epilogue.

    In a stock layer each call packs the weights again: on AMD EPYC that is a tenth of the time of a
    long product, and a third of that of a single token in a large output layer. The epilogue, an
    activation, is applied while the product is still in registers.

    Args:
        linear: stock layer in bfloat16, on a CPU.
    """

    def __init__(self, linear: nn.Linear, epilogue: Epilogue = NO_EPILOGUE) -> None:
        super().__init__(linear)
        self._epilogue = epilogue

    def _pack(self, weight: torch.Tensor) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, BFLOAT16_TOKENS)

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """Bytes of the stock weights, which packing only reorders."""
        return linear.weight.nbytes

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """epilogue(tokens · weightᵀ + bias): `[N, in]` -> `[N, out]`, bfloat16."""
        activation, algorithm = self._epilogue
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            tokens, self._packed, self.bias, activation, [], algorithm
        )
        return output


def can_pack() -> bool:
    """Whether oneDNN supports bfloat16 products on this processor and in this build of torch."""
    found = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return found and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


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


class Int8Linear(PackedLinear):
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
    """

    def _pack(self, weight: torch.Tensor) -> None:
        rounded, self._scales = round_weight(weight)
        # Summed in parts, because torch makes a float32 copy of what it sums.
        sums = [rows.sum(1, dtype=torch.float32) for rows in rounded.split(TOKENS)]
        self._sums = torch.cat(sums).mul_(self._scales)
        self._zero = torch.zeros(1, dtype=torch.int64)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)

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


class FbgemmInt8Linear(PackedLinear):
    """Linear layer with int8 weights and activations, multiplied by FBGEMM.

    FBGEMM quantizes its whole input with one scale. In language models some tokens have activations
    a thousand times those of others, which would be rounded to 0. So each token is divided by its
    largest absolute value first, and its outputs are multiplied by that. A token's rounding still
    depends slightly on the other tokens of the block, whose extremes determine the scale.
    """

    def _pack(self, weight: torch.Tensor) -> None:
        # Packing runs on one thread, and an output layer can have a fifth of a model's weights.
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            self._parts = list(threads.map(_pack_for_fbgemm, weight.split(_FBGEMM_OUTPUTS)))

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """One byte per weight, and a 4-byte scale, zero point and sum per output."""
        return linear.out_features * (linear.in_features + 3 * 4)

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """Weights in float32 and quantized, of the parts that are packed at a time."""
        rows = min(linear.out_features, torch.get_num_threads() * _FBGEMM_OUTPUTS)
        return 5 * rows * linear.in_features

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
    """

    def _pack(self, weight: torch.Tensor) -> None:
        Int8Linear._pack(self, weight)
        FbgemmInt8Linear._pack(self, weight)

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """Those of both copies."""
        return Int8Linear.nbytes_of(linear) + FbgemmInt8Linear.nbytes_of(linear)

    packing_nbytes_of = staticmethod(FbgemmInt8Linear.packing_nbytes_of)  # which is packed last

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


def int8_kernels() -> dict[str, type[PackedLinear]]:
    """Int8 kernels that work on this machine, by name; the one for prompts comes first."""
    kernels: dict[str, type[PackedLinear]] = {"int8 (FBGEMM)": FbgemmInt8Linear}
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
    x[0, 0] = -1  # equivalent: any input
    exact = x.sum()
    packed = _pack_for_fbgemm(weight)
    product = torch.ops.quantized.linear_dynamic(x, packed, False)
    return bool((product - exact).abs().max() > 0.05 * exact)


def _scales(weight: torch.Tensor) -> torch.Tensor:
    low, high = weight.aminmax(dim=1)  # unlike abs().amax(), it makes no copy of the weights
    return (torch.maximum(-low, high).float() / 127).clamp_min_(_TINY)


def _pack_for_fbgemm(weight: torch.Tensor) -> Any:
    """Quantize weights `[out, in]` and pack them."""
    numbers, zeros = weight.float(), torch.zeros(len(weight), dtype=torch.int64)
    with _undeprecated():
        rounded = torch.quantize_per_channel(numbers, _scales(numbers), zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, None)


@contextmanager
def _undeprecated() -> Iterator[None]:
    """Hide that torch 2.13 and later warn of quantized tensors, which are deprecated.

    Filters of warnings are those of the whole process: one thread at a time may change them.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield

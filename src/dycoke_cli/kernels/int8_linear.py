"""Linear layers in 8 bits on CPUs: weights rounded per output, activations per token.

There are two kernels: oneDNN's, and FBGEMM's where a build of torch or a processor lacks the first.
Both use the integer instructions of the processor (VNNI; oneDNN's also AMX). The one that was
measured to be faster is taken (`kernels/choice.py`).
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import nn

from dycoke_cli.kernels.linear import PackedLinear

# Tokens per product: the passes around it then find them in the CPU cache, and there are few calls.
TOKENS = 256
# Of FBGEMM's, whose float32 copies take a few megabytes; more aren't faster.
FBGEMM_TOKENS = 512
# Behind the bytes of a rounded token are its scale and its minimum, two float32.
_TAIL = 8
# Inputs of a layer are laid out in blocks of so many bytes (measured with AVX-512).
_BLOCK = 64
# In place of the largest number of a token of zeros, whose outputs are the bias.
_TINY = torch.finfo(torch.float32).tiny


class Int8Linear(PackedLinear):
    """Weights and activations in 8 bits, multiplied by oneDNN.

    A token takes the 256 levels between its smallest and its largest number, so that one of massive
    activations, or of one sign, costs the others nothing. Each of the few passes around the product
    is one of torch's own kernels: rounding is that of rowwise quantized embedding tables, which
    leaves the scale and the minimum of a token behind its bytes; the weights have zeros there.

    A NaN among a token's numbers may be lost; where all are, so are its outputs.

    Args:
        linear: gives its weights, rounded by one scale per output, and its bias.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.packed_bytes = self.nbytes_of(linear)
        rounded, self._scales = round_weight(linear.weight.detach())
        # What a minimum of 1 adds to each output; of some at a time, for torch sums float32 copies.
        sums = [rows.sum(1, dtype=torch.float32) for rows in rounded.split(TOKENS)]
        self._sums = torch.cat(sums).mul_(self._scales)
        self._zero = torch.zeros(1, dtype=torch.int64)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """A byte per weight, and for each output a scale and a sum of 4 bytes.

        The layout has whole blocks of inputs, the tail among them.
        """
        inputs = -(-(linear.in_features + _TAIL) // _BLOCK) * _BLOCK
        return linear.out_features * (inputs + 2 * 4)

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """The rounded weights before they are laid out."""
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
        """The same of a few tokens, in float32."""
        rounded = torch.ops.quantized.embedding_bag_byte_prepack(tokens.float())
        tail = rounded[:, self.in_features :].clone().view(torch.float32)
        scales, minima = tail[:, :1], tail[:, 1:]
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
    """The same by FBGEMM, whose product rounds its whole input by one scale.

    In language models some tokens have activations a thousand times those of the others, which
    would be rounded to 0; so each token is divided by its largest number first, and its outputs are
    multiplied by it. How a token is rounded still depends a little on those beside it: the smallest
    and the largest number of them are the ends of the scale.

    Args:
        linear: gives its weights, rounded by one scale per output, and its bias.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.packed_bytes = self.nbytes_of(linear)
        self._packed = _pack_for_fbgemm(linear.weight.detach())

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """A byte per weight, and for each output a scale, a zero and a sum of 4 bytes."""
        return linear.out_features * (linear.in_features + 3 * 4)

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """The weights in float32, and rounded."""
        return 5 * linear.weight.numel()

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens · weightᵀ + bias: `[N, in]` -> `[N, out]`."""
        if len(tokens) == 1:  # one token has a scale of its own already
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
        # In 7 bits where the processor would overflow.
        return torch.ops.quantized.linear_dynamic(tokens, self._packed, saturates())


def round_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights in 8 bits, each row by a scale of its own: its largest number, of any sign, is 127.

    Args:
        weight: `[out, in]`, floats.

    Returns:
        `[out, in + 8]`, int8, with zeros behind each row, and the scales, `[out]`, float32.
    """
    scales = _scales(weight)
    rounded = torch.zeros(len(weight), weight.shape[1] + _TAIL, dtype=torch.int8)
    for begin in range(0, len(weight), TOKENS):  # a copy of all in float32 would be large
        rows = slice(begin, begin + TOKENS)
        rounded[rows, :-_TAIL] = (weight[rows].float() / scales[rows, None]).round_()
    return rounded, scales


def int8_kernels() -> dict[str, type[PackedLinear]]:
    """The kernels in 8 bits that work here, by name; the one to take unmeasured comes first."""
    kernels: dict[str, type[PackedLinear]] = {"int8 (FBGEMM)": FbgemmInt8Linear}
    return {"int8 (oneDNN)": Int8Linear, **kernels} if onednn_works() else kernels


@cache
def onednn_works() -> bool:
    """Whether oneDNN's product is there, and right with the largest bytes.

    Without VNNI sums of two products of 8 bits may overflow, as they are made in 16 bits.
    """
    # Not drawn: numbers drawn here would change those that words are drawn by.
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
    """Whether FBGEMM's sums of two products overflow here, as they do in 16 bits without VNNI."""
    weight, x = torch.ones(16, 64), torch.ones(1, 64)
    x[0, 0] = -1
    exact = x.sum()
    product = torch.ops.quantized.linear_dynamic(x, _pack_for_fbgemm(weight), False)
    return bool((product - exact).abs().max() > 0.05 * exact)


def _scales(weight: torch.Tensor) -> torch.Tensor:
    low, high = weight.aminmax(dim=1)  # a copy of absolute numbers would be as large again
    return (torch.maximum(-low, high).float() / 127).clamp_min_(_TINY)


def _pack_for_fbgemm(weight: torch.Tensor) -> Any:
    numbers = weight.float()
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    with warnings.catch_warnings():  # torch 2.13 and later: such tensors will go some day
        warnings.simplefilter("ignore", UserWarning)
        rounded = torch.quantize_per_channel(numbers, _scales(numbers), zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, None)

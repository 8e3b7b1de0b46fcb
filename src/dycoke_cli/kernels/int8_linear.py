"""A linear layer on a CPU with weights and inputs in 8 bits, by the integer instructions.

Faster than bfloat16 where that has no tiles (AMX), slower where it has: docs/speed.md.

torch's product of this kind rounds its whole input by one scale. In language models some tokens
have numbers a thousand times those of the others, which would be rounded to nothing; so each token
is divided by its largest number first, and its outputs are multiplied by it.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import nn

from dycoke_cli.kernels.stand_in import StandIn

# Tokens that go together: their float32 copies take a few megabytes, and more aren't faster.
ROWS = 512
# Stands for the largest number of a token of zeros, whose outputs are the bias.
_TINY = torch.finfo(torch.float32).tiny


class Int8Linear(StandIn):
    """Stands in for a linear layer.

    Args:
        linear: gives its weights, rounded by one scale an output, and its bias.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.packed_bytes = self.held(linear)
        self._packed = packed(linear.weight.detach())

    @staticmethod
    def held(linear: nn.Linear) -> int:
        """A byte a weight, and for each output a scale, a zero and a sum of 4 bytes."""
        return linear.out_features * (linear.in_features + 3 * 4)

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """rows · weightᵀ + bias: `[N, in]` -> `[N, out]`."""
        return int8_linear(rows, self._packed, self.out_features, self.bias)


def packed(weight: torch.Tensor) -> Any:
    """Weights in 8 bits, laid out for the integer instructions of this processor.

    Args:
        weight: `[out, in]`, floats; each row gets a scale of its own, its largest number being 127.

    Returns:
        What `int8_linear` takes.
    """
    numbers = weight.float()
    low, high = numbers.aminmax(dim=1)  # a copy of absolute numbers would be as large again
    scales = (torch.maximum(-low, high) / 127).clamp_min(_TINY)
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    with warnings.catch_warnings():  # torch 2.13 and later: such tensors will go some day
        warnings.simplefilter("ignore", UserWarning)
        rounded = torch.quantize_per_channel(numbers, scales, zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, None)


def int8_linear(
    x: torch.Tensor, weight: Any, outputs: int, bias: torch.Tensor | None
) -> torch.Tensor:
    """x · weightᵀ + bias, both rounded to 8 bits (x to 7 where the processor would overflow).

    Args:
        x: `[N, in]`, floats.
        weight: of `packed`.
        outputs: rows of the weight.
        bias: `[out]`, or None.

    Returns:
        `[N, out]` in the dtype of `x`. How a row is rounded depends a little on those beside it:
        the smallest and the largest of them are the ends of the scale.
    """
    if len(x) == 1:  # one token has a scale of its own already
        product = _product(x.float(), weight)
        return (product if bias is None else product.add_(bias)).to(x.dtype)
    found = x.new_empty(len(x), outputs)
    for begin in range(0, len(x), ROWS):
        rows = x[begin : begin + ROWS].float()
        largest = rows.abs().amax(1, keepdim=True).clamp_min_(_TINY)
        product = _product(rows / largest, weight).mul_(largest)
        found[begin : begin + ROWS] = product if bias is None else product.add_(bias)
    return found


@cache
def saturates() -> bool:
    """Whether sums of two products of 8 bits overflow here, as they do in 16 bits without VNNI."""
    weight, x = torch.ones(16, 64), torch.ones(1, 64)
    x[0, 0] = -1
    exact = x.sum()
    product = torch.ops.quantized.linear_dynamic(x, packed(weight), False)
    return bool((product - exact).abs().max() > 0.05 * exact)


def _product(x: torch.Tensor, weight: Any) -> torch.Tensor:
    return torch.ops.quantized.linear_dynamic(x, weight, saturates())

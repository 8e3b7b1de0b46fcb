"""Linear layers on CPUs with their weights in packed layouts: bfloat16 for oneDNN, and int8."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import nn

# Tokens per product that weights are laid out for; that layout is as fast for other numbers.
BFLOAT16_TOKENS = 1024
Epilogue = tuple[str, str]
"""An activation by oneDNN's name and the name of its algorithm."""
NO_EPILOGUE: Epilogue = ("none", "")
GELU: Epilogue = ("gelu", "none")
GELU_TANH: Epilogue = ("gelu", "tanh")
# Tokens per product in 8 bits: their float32 copies take a few megabytes, and more aren't faster.
INT8_TOKENS = 512
# In place of the largest number of a token of zeros, whose outputs are the bias.
_TINY = torch.finfo(torch.float32).tiny


class PackedLinear(nn.Module):
    """A linear layer whose weights are stored in a packed layout only; for inference on a CPU.

    Attributes:
        in_features: of the layer.
        out_features: of the layer.
        bias: `[out]`, of the layer itself, or None.
        weight: `[out, in]`, for its dtype, shape and device alone: NaN that takes no memory.
        packed_bytes: of the packed weights.

    Args:
        linear: the layer.
    """

    packed_bytes: int

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        nothing = linear.weight.new_full((), float("nan"))
        self.weight = nothing.detach().expand(linear.weight.shape)

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """Bytes of a layer's weights in this layout; needs no weights, only the meta device.

        Args:
            linear: the layer.
        """
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x · weightᵀ + bias.

        Args:
            x: `[..., in]`, floats.

        Returns:
            `[..., out]` in the dtype of `x`.
        """
        found = self.product(x.reshape(-1, self.in_features))
        return found.view(*x.shape[:-1], self.out_features)

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same of tokens `[N, in]`: `[N, out]`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """As `nn.Linear` shows itself."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


class Bfloat16Linear(PackedLinear):
    """Weights in bfloat16, laid out for oneDNN once; an activation can be fused as the epilogue.

    A stock layer has its weights laid out anew by each call: on AMD EPYC a tenth of the time of a
    long product, and a third of that of one token with a large vocabulary. The epilogue is computed
    while the product is still in registers.

    Args:
        linear: in bfloat16, on a CPU.
        epilogue: the activation.
    """

    def __init__(self, linear: nn.Linear, epilogue: Epilogue = NO_EPILOGUE) -> None:
        super().__init__(linear)
        self.packed_bytes = self.nbytes_of(linear)
        self._epilogue = epilogue
        self._packed = torch.ops.mkldnn._reorder_linear_weight(
            linear.weight.detach(), BFLOAT16_TOKENS
        )

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """As many bytes as the layer's own weights."""
        return linear.weight.nbytes

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """epilogue(tokens · weightᵀ + bias): `[N, in]` -> `[N, out]`, bfloat16."""
        activation, algorithm = self._epilogue
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            tokens, self._packed, self.bias, activation, [], algorithm
        )
        return output


class Int8Linear(PackedLinear):
    """Weights and inputs in 8 bits, multiplied by the CPU's integer instructions.

    Faster than bfloat16 where that has no tiles (AMX), slower where it has: docs/speed.md.

    torch's product of this kind rounds its whole input by one scale. In language models some
    tokens have activations a thousand times those of the others, which would be rounded to 0; so
    each token is divided by its largest number first, and its outputs are multiplied by it.

    Args:
        linear: gives its weights, rounded by one scale per output, and its bias.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.packed_bytes = self.nbytes_of(linear)
        self._packed = pack_int8(linear.weight.detach())

    @staticmethod
    def nbytes_of(linear: nn.Linear) -> int:
        """A byte per weight, and for each output a scale, a zero and a sum of 4 bytes."""
        return linear.out_features * (linear.in_features + 3 * 4)

    def product(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens · weightᵀ + bias: `[N, in]` -> `[N, out]`."""
        return int8_linear(tokens, self._packed, self.out_features, self.bias)


def can_pack() -> bool:
    """Whether this processor, and this build of torch, have products in bfloat16 to pack for."""
    found = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return found and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_int8(weight: torch.Tensor) -> Any:
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
        weight: of `pack_int8`.
        outputs: rows of the weight.
        bias: `[out]`, or None.

    Returns:
        `[N, out]` in the dtype of `x`. How a token is rounded depends a little on those beside
        it: the smallest and the largest number of them are the ends of the scale.
    """
    if len(x) == 1:  # one token has a scale of its own already
        product = _product(x.float(), weight)
        return (product if bias is None else product.add_(bias)).to(x.dtype)
    output = x.new_empty(len(x), outputs)
    for begin in range(0, len(x), INT8_TOKENS):
        tokens = x[begin : begin + INT8_TOKENS].float()
        largest = tokens.abs().amax(1, keepdim=True).clamp_min_(_TINY)
        product = _product(tokens / largest, weight).mul_(largest)
        output[begin : begin + INT8_TOKENS] = product if bias is None else product.add_(bias)
    return output


@cache
def saturates() -> bool:
    """Whether sums of two products of 8 bits overflow here, as they do in 16 bits without VNNI."""
    weight, x = torch.ones(16, 64), torch.ones(1, 64)
    x[0, 0] = -1
    exact = x.sum()
    product = torch.ops.quantized.linear_dynamic(x, pack_int8(weight), False)
    return bool((product - exact).abs().max() > 0.05 * exact)


def _product(x: torch.Tensor, weight: Any) -> torch.Tensor:
    return torch.ops.quantized.linear_dynamic(x, weight, saturates())

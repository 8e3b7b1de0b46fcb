"""Linear layers on CPUs with packed weights: base class, and the one in bfloat16 for oneDNN.

Those in int8 are in `int8_linear.py`.
"""

from __future__ import annotations

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

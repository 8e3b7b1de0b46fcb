"""Linear layers on CPUs with their weights in a packed layout, and those in bfloat16 for oneDNN.

Those in 8 bits are in `int8_linear.py`.
"""

from __future__ import annotations

import torch
from torch import nn

# Tokens per product that weights are laid out for; that layout is as fast for other numbers.
BFLOAT16_TOKENS = 1024
Epilogue = tuple[str, str]
"""An activation by oneDNN's name and the name of its algorithm."""
NO_EPILOGUE: Epilogue = ("none", "")
GELU: Epilogue = ("gelu", "none")
GELU_TANH: Epilogue = ("gelu", "tanh")


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

    @staticmethod
    def packing_nbytes_of(linear: nn.Linear) -> int:
        """Bytes that packing a layer takes beside the layer and its packed weights."""
        return 0

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


def can_pack() -> bool:
    """Whether this processor, and this build of torch, have products in bfloat16 to pack for."""
    found = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return found and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

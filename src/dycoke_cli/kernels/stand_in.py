"""What stands in for a linear layer: its weights lie in a form of their own, and nowhere else."""

from __future__ import annotations

import torch
from torch import nn


class StandIn(nn.Module):
    """A linear layer with weights as the processor wants them; for inference on a CPU.

    Attributes:
        in_features: of the layer.
        out_features: of the layer.
        bias: `[out]`, of the layer itself, or None.
        weight: `[out, in]`, what is asked for its dtype, shape and device alone: NaN that takes no
            memory.
        packed_bytes: of the weights as they lie.

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
    def held(linear: nn.Linear) -> int:
        """Bytes of a layer's weights in this form; known without its weights, on the meta device.

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

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """The same of rows `[N, in]`: `[N, out]`."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """As `nn.Linear` shows itself."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"

"""A linear layer in bfloat16 on a CPU whose weights are laid out for oneDNN once.

A stock layer has them laid out anew by each call: on AMD EPYC a tenth of the time of a long
product, and a third of that of one token with a large vocabulary. An activation behind the layer is
computed while the product is still in the processor's registers.
"""

from __future__ import annotations

import torch
from torch import nn

from dycoke_cli.kernels.stand_in import StandIn

# Rows of the products that weights are laid out for; others read that layout as fast.
ROWS = 1024
Behind = tuple[str, str]
"""An activation by oneDNN's name and the name of its algorithm."""
NOTHING: Behind = ("none", "")
GELU: Behind = ("gelu", "none")
GELU_TANH: Behind = ("gelu", "tanh")


class PackedLinear(StandIn):
    """Stands in for a linear layer, and for the activation behind it.

    Args:
        linear: in bfloat16, on a CPU.
        behind: the activation.
    """

    def __init__(self, linear: nn.Linear, behind: Behind = NOTHING) -> None:
        super().__init__(linear)
        self.packed_bytes = self.held(linear)
        self._behind = behind
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    @staticmethod
    def held(linear: nn.Linear) -> int:
        """As many bytes as the layer's own weights."""
        return linear.weight.nbytes

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """activation(rows · weightᵀ + bias): `[N, in]` -> `[N, out]`, bfloat16."""
        activation, algorithm = self._behind
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._packed, self.bias, activation, [], algorithm
        )
        return found


def can_pack() -> bool:
    """Whether this processor, and this build of torch, have products in bfloat16 to pack for."""
    found = hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return found and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

"""Low-rank adapters (LoRA, arXiv:2106.09685) of a language model that is otherwise frozen.

Own lines, not those of peft: its wrappers rename what the objective, the probes and the export call
by name, it keeps a format of its own beside a run's state, and none of it would be left of these.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

ADAPTER = "lora_"
"""How the names of an adapter's weights begin."""


class LoraLinear(nn.Linear):
    """A linear layer with an adapter beside it: W x + scale * B (A x)."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float

    @classmethod
    def adapting(cls, stock: nn.Linear, rank: int, scale: float) -> LoraLinear:
        """A layer with the very weights of a stock one; the adapter changes nothing yet."""
        made = cls(stock.in_features, stock.out_features, bias=False, device="meta")
        made.weight, made.bias = stock.weight, stock.bias
        made.scale = scale
        made.lora_a = nn.Parameter(stock.weight.new_empty(rank, stock.in_features))
        made.lora_b = nn.Parameter(stock.weight.new_zeros(stock.out_features, rank))
        nn.init.kaiming_uniform_(made.lora_a, a=math.sqrt(5))
        return made

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        inner = nn.functional.linear(inputs, self.lora_a)
        return super().forward(inputs) + self.scale * nn.functional.linear(inner, self.lora_b)

    def merged(self) -> Tensor:
        """The weights [out, in] of a plain layer that does the same."""
        return self.weight + self.scale * self.lora_b @ self.lora_a


def freeze(module: nn.Module) -> None:
    """Makes buffers that no state holds of all parameters but those of adapters.

    So whatever goes over parameters, and every state, has what is trained alone.
    """
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            if not name.startswith(ADAPTER):
                delattr(part, name)
                part.register_buffer(name, weight.detach(), persistent=False)

"""FastV: from one layer on, the language model goes on without the tokens nobody looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from dycoke_cli.compression.base import Inside, Method
from dycoke_cli.compression.ranges import check_at_least, check_share
from dycoke_cli.compression.ranking import tokens_left, top


@dataclass(frozen=True)
class FastV(Method):
    """FastV (arXiv 2403.06764, ECCV 2024), section 4.1: one choice inside the language model.

    While the prompt is read, the attention of its last token in layer K-1, after softmax over all
    keys and averaged over heads, ranks the visual tokens. Layers from K on read the best of them
    only, in the rest of the prompt and in every decoding step: what is dropped is gone. Tokens keep
    their positions.

    Args:
        prune_ratio: R in [0, 1), the share of the visual tokens that is dropped.
        prune_layer: K, the first layer (0-based, 1 or more) without them.

    Raises:
        UsageError: (a ValueError) a parameter out of range.
    """

    name: ClassVar[str] = "fastv"

    prune_ratio: float = 0.5
    prune_layer: int = 2

    def __post_init__(self) -> None:
        check_share("prune_ratio", self.prune_ratio)
        check_at_least("prune_layer", self.prune_layer, 1)

    def inside(self) -> Inside:
        """The layer, and the choice that is made before it."""
        return Inside(self.prune_layer, self._keep)

    def _keep(self, attention: torch.Tensor) -> torch.Tensor:
        return top(attention, tokens_left(len(attention), self.prune_ratio))

"""Proportional attention: a merged token is attended to as the tokens that it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.selection import Selection
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch

PROPORTIONAL = Param(
    "Weight of proportional attention: X times the logarithm of how many tokens a merged token "
    "stands for is added to its attention logits, in every layer. At 1 it is attended to like "
    "that many equal tokens.",
    metavar="X",
    at_least=0,
    to=1,
    before=0.0,
)


@dataclass(frozen=True)
class MergingTokens(Budgeted):
    """Methods with a budget that can merge the tokens they drop.

    The language model attends to a token that others were merged into as to any other one: what
    fills half of a video and was merged into one token is one voice among the others. With
    `proportional` its logits get X · log n for the n tokens that it stands for, as in ToMe (Bolya
    et al., ICLR 2023, arXiv 2210.09461, section 3), where X is 1; no author's code of the methods
    here does it.
    """

    proportional: Annotated[float, PROPORTIONAL] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proportional and self.inside() is not None:
            raise UsageError(
                "proportional isn't supported with inner_layer, whose selection later layers get; "
                "drop one"
            )

    def adds_bias(self) -> bool:
        """Whether merged tokens get more attention."""
        return self.proportional > 0

    def attention_bias(self, selection: Selection) -> torch.Tensor | None:
        """X · log n for each token kept; None where none stands for others."""
        sizes = selection.sizes
        if sizes is None or not self.adds_bias():
            return None
        return self.proportional * sizes.double().log()

"""Proportional attention: a merged token is attended to as the tokens that it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.selection import Selection
from dycoke_cli.errors import UsageError
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param

PROPORTIONAL = Param(
    "Proportional attention: add log n to the attention logits of a merged token that represents n "
    "tokens, in every layer, so that it weighs as much as n equal tokens. Not with FlashAttention.",
    before=False,
)


@dataclass(frozen=True)
class MergingTokens(Budgeted):
    """Methods with a budget that can merge the tokens they drop.

    The language model attends to a token that others were merged into as to any other one: what
    fills half of a video and was merged into one token is one voice among the others. With
    `proportional` its logits get log n for the n tokens that it stands for, as in ToMe (Bolya et
    al., ICLR 2023, arXiv 2210.09461, section 3); no author's code of another method here does it.
    """

    title: ClassVar[str] = "Merged tokens"

    proportional: Annotated[bool, PROPORTIONAL] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proportional and self.inside() is not None:
            raise UsageError(
                "proportional isn't supported with inner_layer, whose selection later layers get; "
                "drop one"
            )

    def adds_bias(self) -> bool:
        """Whether merged tokens get more attention."""
        return self.proportional

    def attention_bias(self, selection: Selection) -> torch.Tensor | None:
        """log n for each token kept; None where none stands for others."""
        # Counting copies from the device: not where nobody asked for it.
        sizes = selection.sizes if self.adds_bias() else None
        return None if sizes is None else sizes.double().log()

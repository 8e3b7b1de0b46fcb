"""FastV: from one layer on, the visual tokens with the least attention are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from dycoke_cli.compression.method import LayerPruning, Method, tokens_left, without_lowest
from dycoke_cli.param import Param


@dataclass(frozen=True)
class FastV(Method):
    """FastV (arXiv 2403.06764, ECCV 2024), section 4.1: one selection inside the language model.

    During prefill, the attention of the prompt's last token in layer L-1, after softmax over all
    keys and averaged over heads, ranks the visual tokens. Layers from L on (K in the paper) have
    the best of them only, in the rest of prefill and in every decoding step: the fraction P (R in
    the paper) is dropped. Tokens keep their positions. Ties go to the lower index.

    Differs from the authors' code, which comes in several versions: one hides the other tokens by
    an attention mask and shortens nothing, another drops them, and computes layer L-1 twice. They
    ask for whole matrices of attention, which takes memory, and keeps FlashAttention off; here it
    is the product of one query with the keys.
    """

    name: ClassVar[str] = "fastv"
    title: ClassVar[str] = "FastV"
    summary: ClassVar[str] = "drops tokens at one layer, by attention"
    paper: ClassVar[str | None] = "arXiv 2403.06764, ECCV 2024"

    prune_ratio: Annotated[
        float,
        Param(
            "Fraction of the visual tokens that is dropped (not the fraction kept).",
            symbol="P",
            at_least=0,
            below=1,
            budget=True,
        ),
    ] = 0.5
    prune_layer: Annotated[
        int,
        Param("First layer without them; the layer before it scores them.", symbol="L", layer=True),
    ] = 2

    def inside(self) -> LayerPruning:
        """The layer, and the selection before it."""
        return LayerPruning(self.prune_layer, partial(without_lowest, ratio=self.prune_ratio))

    def attended_tokens(self, kept: int) -> int:
        """What is left from that layer on."""
        return tokens_left(kept, self.prune_ratio)

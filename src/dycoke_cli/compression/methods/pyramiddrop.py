"""PyramidDrop: the language model in stages, each with half of the visual tokens of the last."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from dycoke_cli.compression.method import (
    LayerPruning,
    Method,
    settled_value,
    tokens_left,
    without_lowest,
)
from dycoke_cli.param import Param


@dataclass(frozen=True)
class PyramidDrop(Method):
    """PyramidDrop (arXiv 2410.17247, CVPR 2025), section 3: fewer tokens in each stage of layers.

    The language model is divided into `stages` of equally many layers. Before each stage but the
    first, the attention of the prompt's last token in the stage's first layer, after softmax over
    all keys and averaged over heads, ranks the visual tokens that are left, and the fraction P of
    them is dropped, for the rest of prefill and for every decoding step. That attention is computed
    from all tokens before the layer runs on those kept. Tokens keep their positions. Ties go to the
    lower index.

    Differs from the authors' code (commit 6444f30) in positions, which become contiguous there
    after each drop. Its stages begin at layers 8, 16 and 24 of 32, as here; which are left of n
    tokens is counted from n there (int(n·.25)), and here stage by stage, which is the same for
    P = .5.
    """

    name: ClassVar[str] = "pyramiddrop"
    title: ClassVar[str] = "PyramidDrop"
    summary: ClassVar[str] = "drops tokens stage by stage, by attention"
    paper: ClassVar[str | None] = "arXiv 2410.17247, CVPR 2025"

    prune_ratio: Annotated[
        float,
        Param(
            "Fraction of the visual tokens left that is dropped before each stage.",
            symbol="P",
            at_least=0,
            below=1,
            budget=True,
        ),
    ] = 0.5
    stages: Annotated[
        int, Param("Number of stages; one behind the last layer has no effect.", at_least=2)
    ] = 4
    stage_layers: Annotated[
        int | None,
        Param(
            "Layers of a stage; the last one has what is left over.",
            layer=True,
            of_depth=1 / 4,
            default="a quarter of the language model's layers",
        ),
    ] = None

    def inside(self) -> tuple[LayerPruning, ...]:
        """The first layer of each stage but the first, and the selection before it."""
        layers = settled_value(self.stage_layers)
        keep = partial(without_lowest, ratio=self.prune_ratio)
        return tuple(
            LayerPruning(stage * layers, keep, left=self._left, own_attention=True)
            for stage in range(1, self.stages)
        )

    def attended_tokens(self, kept: int) -> int:
        """What is left in the last stage."""
        for _ in range(1, self.stages):
            kept = self._left(kept)
        return kept

    def _left(self, tokens: int) -> int:
        return tokens_left(tokens, self.prune_ratio)

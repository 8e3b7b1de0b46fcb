"""DART: the tokens that repeat a few pivots least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from dycoke_cli.compression.base import top
from dycoke_cli.compression.budget import Budgeted, shares
from dycoke_cli.compression.similarity import wide
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DART(Budgeted):
    """Duplication-Aware Reduction of Tokens (arXiv 2502.11494), on input embeddings.

    Pivots are the visual tokens with the largest L1 norm. In reading order, each adds its share of
    the rest of the budget: of the tokens that nobody added yet those with the lowest cosine
    similarity to it. Ties go to the lower index. Where the budget is smaller than the number of
    pivots, it is that many pivots.

    Differs from the authors' code, which prunes from decoder layer 2 on, by the norms of that
    layer's keys and the cosine similarities of its hidden states: here both are of the embeddings
    that the language model reads, as in NVIDIA's TensorRT Edge-LLM, so that every layer is saved.
    Four of the authors' eight pivots are text tokens; a choice made without the question has none,
    so all are visual here. The budget is exact: their shares are rounded down, and pivots come on
    top. Both keep positions.
    """

    name: ClassVar[str] = "dart"
    title: ClassVar[str] = "DART"
    summary: ClassVar[str] = "pivots of the largest norm, and the tokens least like them"
    paper: ClassVar[str | None] = "arXiv 2502.11494"

    pivots: Annotated[
        int, Param("Visual tokens that the others are compared with.", at_least=1)
    ] = 8

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of the tokens kept of `features[F, N, D]`."""
        import torch
        import torch.nn.functional as F

        count = self.kept_tokens(*features.shape[:2])
        norms = torch.cat([wide(frame).abs().sum(-1) for frame in features]).float()
        pivots = top(norms, min(self.pivots, count))
        kept = torch.zeros_like(norms, dtype=torch.bool)
        kept[pivots] = True

        def directions(tokens: torch.Tensor) -> torch.Tensor:
            return F.normalize(wide(tokens), dim=-1)

        ends = directions(features.flatten(0, 1)[pivots]).T
        similarities = torch.cat([directions(frame) @ ends for frame in features]).float()
        quotas = shares(count - len(pivots), len(pivots))
        for similarity, quota in zip(similarities.T, quotas, strict=True):
            order = similarity.masked_fill(kept, torch.inf).argsort(stable=True)
            kept[order[:quota]] = True
        return kept.nonzero().flatten()

"""DART: the tokens that repeat a few pivots least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import MergingEarly, shares
from dycoke_cli.compression.method import Selection, SelectionInputs, top
from dycoke_cli.compression.similar import wide
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param


@dataclass(frozen=True)
class DART(MergingEarly):
    """Duplication-Aware Reduction of Tokens (arXiv 2502.11494), on input embeddings.

    Pivots are the visual tokens with the largest L1 norm. In reading order, each adds its share of
    the rest of the budget: of the visual tokens not added yet those with the lowest cosine
    similarity to it. Ties go to the lower index. Where the budget is smaller than the number of
    pivots, it is that many pivots.

    Differs from the authors' code, which prunes from decoder layer 2 on, by the norms of that
    layer's keys and the cosine similarities of its hidden states: here both are of the embeddings
    that the language model reads, as in NVIDIA's TensorRT Edge-LLM (which has pivots and a share of
    the budget for each video or image), so that every layer is saved. The authors have four visual
    and four text pivots; there is no text pivot here, so that a selection serves all questions
    about a video. The budget is exact: their shares are rounded down, and pivots come on top. Both
    keep positions.
    """

    name: ClassVar[str] = "dart"
    title: ClassVar[str] = "DART"
    summary: ClassVar[str] = "tokens least like a few of large norm"
    paper: ClassVar[str | None] = "arXiv 2502.11494"

    pivots: Annotated[
        int, Param("Visual tokens that the others are compared with.", at_least=1)
    ] = 8

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens kept of the whole video."""
        features = inputs.features
        count = self.kept_tokens(*features.shape[:2])
        norms = torch.cat([wide(frame).abs().sum(-1).float() for frame in features])
        visual = top(norms, min(self.pivots, count))
        kept = torch.zeros_like(norms, dtype=torch.bool)
        kept[visual] = True

        def directions(tokens: torch.Tensor) -> torch.Tensor:
            return F.normalize(wide(tokens), dim=-1)

        ends = directions(features.flatten(0, 1)[visual]).T
        similarities = torch.cat([directions(frame) @ ends for frame in features]).float()
        quotas = shares(count - len(visual), len(visual))
        for similarity, quota in zip(similarities.T, quotas, strict=True):
            order = similarity.masked_fill(kept, torch.inf).argsort(stable=True)
            kept[order[:quota]] = True
        return Selection(kept.nonzero().flatten())

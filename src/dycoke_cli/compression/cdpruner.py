"""CDPruner: a diverse choice of the tokens that have to do with the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.selection import Given, Need, Selection
from dycoke_cli.compression.similarity import wide
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch

EXHAUSTED = 1e-6
"""A token that adds no more than this adds nothing but rounding."""


@dataclass(frozen=True)
class CDPruner(Budgeted):
    """CDPruner (arXiv 2506.10967, NeurIPS 2025): diversity, conditioned on the question.

    A token's relevance is the mean of its cosine similarities to the embeddings of the question's
    tokens, scaled over all visual tokens to 0 … 1 (to 1 where all are equal). Tokens are chosen
    greedily for the largest determinant of the kernel whose entry for two tokens is their cosine
    similarity times both relevances (a determinantal point process). When no token adds anything
    any more, those of the highest relevance follow. Ties go to the lower index.

    The question is the text behind the video, the end of the prompt's template with it; so each
    question reads the video anew. Differs from the authors' code in that: for CLIP's visual tokens
    they compare with CLIP's own encoding of the text. Comparing with input embeddings is what
    OpenVINO GenAI does for Qwen-VL; it chooses in each half of the tokens alone, here it is the
    whole video. The authors keep positions.
    """

    name: ClassVar[str] = "cdpruner"
    title: ClassVar[str] = "CDPruner"
    summary: ClassVar[str] = "diverse tokens that have to do with the question"
    paper: ClassVar[str | None] = "arXiv 2506.10967, NeurIPS 2025"
    needs: ClassVar[tuple[Need, ...]] = ("question",)

    relevance_weight: Annotated[
        float,
        Param("How much the question counts: 0 is diversity alone.", at_least=0, to=1),
    ] = 1.0

    def choose(self, given: Given) -> Selection:
        """The tokens kept of the whole video."""
        import torch
        import torch.nn.functional as F

        assert given.question is not None, "asked for"
        directions = F.normalize(wide(given.features.flatten(0, 1)), dim=-1)
        relevance = self._relevance(directions, given.question)
        count = self.kept_tokens(*given.features.shape[:2])
        # What each token would multiply the determinant by, and the rows of its Cholesky factor.
        gain = relevance**2
        rows = directions.new_zeros(count, len(directions))
        chosen: list[int] = []
        while len(chosen) < count and float(gain.max()) > EXHAUSTED:
            best = int(gain.float().argmax())
            before = rows[: len(chosen)]
            entries = relevance[best] * relevance * (directions @ directions[best])
            row = (entries - before[:, best] @ before) / gain[best].sqrt()
            rows[len(chosen)] = row
            chosen.append(best)
            gain = gain - row**2
            gain[best] = -torch.inf
        is_left = torch.ones_like(relevance, dtype=torch.bool)
        is_left[chosen] = False
        rest = relevance.float().masked_fill(~is_left, -torch.inf)
        rest = rest.argsort(descending=True, stable=True)[: count - len(chosen)]
        kept = torch.cat([torch.tensor(chosen, dtype=torch.int64, device=rest.device), rest])
        return Selection(kept.sort().values)

    def _relevance(self, directions: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """Of each visual token, `[V]`, from its direction `[V, D]` and the question `[Q, D]`."""
        import torch
        import torch.nn.functional as F

        if not len(question):
            return torch.ones_like(directions[:, 0])
        # The mean similarity is that to the mean direction.
        alike = directions @ F.normalize(wide(question), dim=-1).mean(0)
        least, most = alike.min(), alike.max()
        scaled = (alike - least) / (most - least) if most - least > EXHAUSTED else alike * 0 + 1
        return 1 - self.relevance_weight + self.relevance_weight * scaled

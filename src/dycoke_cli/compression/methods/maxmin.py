"""Max-min distance: always the token that is farthest from those kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import MergingEarly
from dycoke_cli.compression.similar import wide
from dycoke_cli.lazy_torch import F, torch


@dataclass(frozen=True)
class MaxMin(MergingEarly):
    """The greedy solution of the max-min diversity problem, as in DivPrune (arXiv 2503.02175).

    The distance of two tokens is 1 - their cosine similarity. The first token is the one whose
    nearest other token is farthest; then each time the one that is farthest from those kept. Ties
    go to the lower index. It is of the whole video at once, and looks at no question.

    Differs from the authors' code in that it compares what the language model reads, here in
    float64; there, tokens are an image's, in the model's dtype.
    """

    name: ClassVar[str] = "maxmin"
    title: ClassVar[str] = "Max-min distance"
    summary: ClassVar[str] = "tokens as far from each other as can be"
    paper: ClassVar[str | None] = "DivPrune, arXiv 2503.02175, CVPR 2025"

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of the tokens kept of `features[F, N, D]`."""
        frames, per_frame = features.shape[:2]
        directions = F.normalize(wide(features.flatten(0, 1)), dim=-1)
        count = self.kept_tokens(frames, per_frame)
        chosen = [_loneliest(directions, per_frame)]
        # Of each token to the nearest of those chosen; a chosen one is never chosen again.
        nearest = torch.full_like(directions[:, 0], -torch.inf, dtype=torch.float32)
        while len(chosen) < count:
            nearest = nearest.maximum((directions @ directions[chosen[-1]]).float())
            nearest[chosen[-1]] = torch.inf
            chosen.append(int(nearest.argmin()))
        return torch.tensor(sorted(chosen), device=features.device)


def _loneliest(directions: torch.Tensor, step: int) -> int:
    """The token `directions[V, D]` whose most similar other one is least similar to it."""
    highest = []
    for begin in range(0, len(directions), step):  # all pairs at once would be large
        similarity = (directions[begin : begin + step] @ directions.T).float()
        similarity.diagonal(begin).fill_(-torch.inf)
        highest.append(similarity.amax(1))
    return int(torch.cat(highest).argmin())

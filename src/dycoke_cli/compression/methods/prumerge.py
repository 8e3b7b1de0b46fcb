"""LLaVA-PruMerge: tokens that the vision encoder attends to, each with those most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import FrameByFrame, evenly
from dycoke_cli.compression.method import Selection, into_itself, top
from dycoke_cli.compression.similar import all_but, wide
from dycoke_cli.lazy_torch import F, torch

CLUSTER = 32 / 576
"""Fraction of a frame's tokens that are merged into each kept one."""


@dataclass(frozen=True)
class PruMerge(FrameByFrame):
    """LLaVA-PruMerge (arXiv 2403.15388, ICCV 2025), frame by frame, to a given budget.

    Each frame keeps as many tokens (give or take one, for the total to be the budget): those with
    the most attention. To each of them the tokens are added whose keys are most like its own
    (cosine similarity; kept ones, too; 1 in 18 of the frame's tokens, as the published 32 of 576),
    each times its share of the frame's attention. Where a
    frame keeps two or more but not all, the last of them represents the tokens that aren't kept:
    the sum of all of those, each times its share of the attention, at the place of the one with the
    most. Ties go to the lower index.

    Differs from the authors' code in the budget: they keep the outliers of the attention
    (interquartile range over the batch), some 5 % of the tokens, and the sum comes on top. It acts
    behind the projector and pooling, not in front; attention and keys are in the mean over heads,
    of the layer whose output is used, where theirs are of one wide head in the last layer, although
    they use the output of the one before; where the tower has no class token, it is the mean
    attention of all queries. Shares of the attention add up to 1 in a frame; in theirs the class
    token has its share. Tokens stay in reading order, where theirs are in the order of attention.
    """

    name: ClassVar[str] = "prumerge"
    title: ClassVar[str] = "PruMerge"
    summary: ClassVar[str] = "attended tokens, each with those most alike"
    paper: ClassVar[str | None] = "arXiv 2403.15388, ICCV 2025"
    windowed: ClassVar[bool] = True

    def reduced(
        self, tokens: torch.Tensor, attention: torch.Tensor, keys: torch.Tensor, count: int
    ) -> Selection:
        """The tokens kept, with what is merged into them."""
        with_rest = 1 < count < len(tokens)
        weights = wide(attention) / wide(attention).sum()
        kept = self._kept(attention, count - with_rest)
        directions = F.normalize(wide(keys), dim=-1)
        alike = (directions[kept] @ directions.T).float()
        alike[torch.arange(count - with_rest), kept] = -torch.inf  # not with itself
        cluster = alike.argsort(dim=-1, descending=True, stable=True)
        cluster = cluster[:, : min(max(1, round(CLUSTER * len(tokens))), len(tokens) - 1)]
        merged = tokens[kept] + (weights[cluster, None] * tokens[cluster]).sum(1)
        into = _into(alike, cluster, kept)
        if with_rest:
            is_rest = all_but(kept, len(attention))
            first = top(attention.masked_fill(~is_rest, -torch.inf), 1)
            kept = torch.cat([kept, first])
            merged = torch.cat([merged, weights[None, is_rest] @ tokens[is_rest]])
            into[into < 0] = first
            into[first] = first
        return Selection.in_reading_order(kept, merged, into)

    def _kept(self, attention: torch.Tensor, count: int) -> torch.Tensor:
        """Positions `[count]` of the tokens that others are merged into, by attention `[N]`."""
        return top(attention, count)


def _into(alike: torch.Tensor, cluster: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """For each token the kept one most like it among those that it is merged into; -1 of none.

    Args:
        alike: `[C, N]`, float32: of kept tokens and all.
        cluster: `[C, n]`, int64: what is merged into each.
        kept: `[C]`, int64.
    """
    into = into_itself(kept, alike.shape[1])
    if len(kept):
        merged = torch.full_like(alike, -torch.inf).scatter(1, cluster, alike.gather(1, cluster))
        goes = (into < 0) & (merged.amax(0) > -torch.inf)
        into[goes] = kept[merged.argmax(0)[goes]]
    return into


@dataclass(frozen=True)
class PruMergePlus(PruMerge):
    """PruMerge+: as PruMerge, with a quarter of the tokens by attention, and others by place.

    The others are evenly spaced among the tokens that attention leaves. The authors add a token at
    every place of a stride that gives about three for each outlier of the attention: hence the
    quarter. Their stride begins at the first token, never reaches the last, and skips places that
    attention keeps; it fails where more than a third are outliers. It is what their code runs by
    default. The rest, and what differs, is as in PruMerge.
    """

    name: ClassVar[str] = "prumerge+"
    title: ClassVar[str] = "PruMerge+"
    summary: ClassVar[str] = "as prumerge, most tokens evenly spaced"
    windowed: ClassVar[bool] = True

    def _kept(self, attention: torch.Tensor, count: int) -> torch.Tensor:
        """A quarter of them, rounded up, by attention."""
        outliers = top(attention, -(-count // 4))
        others = all_but(outliers, len(attention))
        places = others.nonzero().flatten()
        spaced = evenly(count - len(outliers), len(places)).to(places.device)
        return torch.cat([outliers, places[spaced]]).sort().values

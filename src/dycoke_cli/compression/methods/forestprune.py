"""ForestPrune: trees of tokens that follow each other in time, of which the roots stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import MergingEarly
from dycoke_cli.compression.method import top
from dycoke_cli.compression.similar import sides, wide
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param

GRAPH_THRESHOLD, TEMPERATURE, STEPS = 0.5, 0.03, 5
"""Of the walk over a frame's tokens: which are neighbors, how it prefers them, and its length."""
APART = -1e4
"""Of tokens that aren't neighbors, before the softmax: a share of 0 beside any neighbor."""


@dataclass(frozen=True)
class ForestPrune(MergingEarly):
    """ForestPrune (arXiv 2603.22911, CVPR 2026 Findings): a forest over the video, kept by depth.

    In space: a frame's tokens with a cosine similarity of .5 or more are neighbors. A walk of five
    steps, each by a softmax of similarity / .03 over the neighbors, begins at all tokens by their
    norms. A token scores with what arrives, divided by how many neighbors it has, and the share
    `spatial_retain` with the highest scores is left.

    In time: each of them joins the tree of the most similar token of any earlier frame whose
    similarity is `link_threshold` or more and whose distance on the grid (the larger of those along
    both sides, of which each has length 1) is `link_distance` or less; of equally similar ones that
    of the nearest, then that of the earliest root. Its depth is one more than that of the tree's
    latest token in an earlier frame. What joins none is the root of a tree, at depth 0.

    What is least deep is kept, of equal depth the earliest. Where there are more roots than the
    budget, the later of the two most similar roots goes, again and again. Ties go to the lower
    index.

    This is the authors' code (commit 1686829), in which a node's role doesn't count beside its
    depth, as it does in the paper's abstract. Differs from it in the order of tokens within a
    frame, which there is arbitrary (by an unsorted top-k) and decides which one of a frame is a
    tree's latest, and which of equal ones go; here it is reading order. Differs in the budget only
    where it is more than the share `spatial_retain`: theirs keeps that share then, here every frame
    is left what the budget needs. They add a newline token for each row of LLaVA-Video's grids
    beside the budget.
    """

    name: ClassVar[str] = "forestprune"
    title: ClassVar[str] = "ForestPrune"
    summary: ClassVar[str] = "roots of trees of tokens over time"
    paper: ClassVar[str | None] = "arXiv 2603.22911, CVPR 2026 Findings"

    spatial_retain: Annotated[
        float,
        Param("Fraction of each frame's tokens that trees are made of.", above=0, to=1),
    ] = 0.5
    link_threshold: Annotated[
        float,
        Param("A token joins a tree that has one at least this similar.", at_least=-1, to=1),
    ] = 0.9
    link_distance: Annotated[
        float,
        Param(
            "Largest distance on a frame's grid at which a token joins a tree, as a fraction of "
            "the grid's sides.",
            at_least=0,
            to=1,
        ),
    ] = 0.2

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of the tokens kept of `features[F, N, D]`."""
        frames, per_frame = features.shape[:2]
        count = self.kept_tokens(frames, per_frame)
        left = max(round(per_frame * self.spatial_retain), -(-count // frames))
        positions = torch.stack([salient(wide(frame), left) for frame in features])
        first = per_frame * torch.arange(frames, device=features.device)
        at = (first[:, None] + positions).flatten()
        directions = F.normalize(wide(features.flatten(0, 1)[at]), dim=-1)
        depth = self._depths(directions, positions, _distances(per_frame).to(features.device))
        roots = (depth == 0).nonzero().flatten()
        if len(roots) > count:
            kept = roots[dissimilar(directions[roots], count)]
        else:
            kept = depth.argsort(stable=True)[:count]
        return at[kept].sort().values

    def _depths(
        self, directions: torch.Tensor, positions: torch.Tensor, distances: torch.Tensor
    ) -> torch.Tensor:
        """The depth of each token in its tree, `[F*n]`, int64; 0 of roots.

        Args:
            directions: `[F*n, D]`, of length 1, the same number n of each frame.
            positions: `[F, n]`, int64: their places in their frames.
            distances: `[N, N]`, float64: of places from each other.
        """
        each = torch.arange(len(directions), device=directions.device)
        root, latest, depth = each.clone(), each.clone(), torch.zeros_like(each)
        frames, of_frame = positions.shape
        for start in range(of_frame, frames * of_frame, of_frame):
            now = slice(start, start + of_frame)
            alike = (directions[:start] @ directions[now].T).float()
            apart = distances[positions.flatten()[:start]][:, positions.flatten()[now]]
            is_out = (alike < self.link_threshold) | (apart > self.link_distance)
            alike = alike.masked_fill(is_out, -torch.inf)
            best = alike.amax(0)
            apart = apart.masked_fill(alike < best, torch.inf)
            tree = root[:start, None].masked_fill(apart > apart.amin(0), len(each)).amin(0)
            joins = best > -torch.inf
            root[now] = torch.where(joins, tree, each[now])
            depth[now] = torch.where(joins, depth[latest[root[now]]] + 1, 0)
            latest.scatter_reduce_(0, root[now], each[now], "amax")
        return depth


def salient(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """Positions of the tokens of a frame at which a walk over similar ones arrives most.

    Args:
        tokens: `[N, D]`, in the widest dtype.
        count: how many.

    Returns:
        `[count]`, int64, ascending.
    """
    directions = F.normalize(tokens, dim=-1)
    alike = directions @ directions.T
    is_apart = alike.float() < GRAPH_THRESHOLD
    steps = (alike / TEMPERATURE).masked_fill(is_apart, APART).softmax(-1)
    arrived = tokens.norm(dim=-1)
    for _ in range(STEPS):
        arrived = arrived @ steps
    return top((arrived / (steps > 0).sum(-1)).float(), count)


def dissimilar(directions: torch.Tensor, count: int) -> torch.Tensor:
    """Tokens that are left when the later of the two most similar ones goes, again and again.

    Args:
        directions: `[n, D]`, of length 1, in the order of time.
        count: how many are left, 1 … n.

    Returns:
        `[count]`, int64, ascending.
    """
    alike = (directions @ directions.T).float()
    earlier = torch.ones_like(alike, dtype=torch.bool).triu(1)
    alike = alike.masked_fill(~earlier, -torch.inf)
    best, later = alike.max(-1)
    is_left = torch.ones_like(best, dtype=torch.bool)
    for _ in range(len(directions) - count):
        goes = later[best.argmax()]
        is_left[goes], best[goes] = False, -torch.inf
        alike[:, goes] = -torch.inf
        # What went was the most similar later one of these.
        widowed = ((later == goes) & is_left).nonzero().flatten()
        best[widowed], later[widowed] = alike[widowed].max(-1)
    return is_left.nonzero().flatten()


def _distances(per_frame: int) -> torch.Tensor:
    """Of the places on a frame's grid from each other, `[N, N]`, float64; 1 is a side's length."""
    height, width = sides(per_frame)
    places = torch.arange(per_frame)
    row, column = places // width, places % width
    down, across = ((x[:, None] - x).abs().double() for x in (row, column))
    return torch.maximum(down / max(height - 1, 1), across / max(width - 1, 1))

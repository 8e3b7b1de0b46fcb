"""FlashVID: diverse tokens with attention, and trees of tokens that follow each other in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import Contextual, MergeThreshold, in_proportion
from dycoke_cli.compression.method import into_itself
from dycoke_cli.compression.segments import SegmentBySegment
from dycoke_cli.compression.similar import clustered, means, wide
from dycoke_cli.lazy_torch import F, torch

NEIGHBORS = 7


@dataclass(frozen=True)
class FlashVID(SegmentBySegment):
    """FlashVID (arXiv 2602.08024, ICLR 2026): diverse tokens with attention, and trees over time.

    The video is cut into segments, where the mean tokens of two frames are less similar than
    `segment_threshold`, and where they are least similar, into `min_segments` at least. Each frame
    gets an equal share of the budget (give or take one), of which the fraction `contextual`,
    rounded down, is for merged tokens. The others are chosen for attention and diversity: the
    distance of a token to another one is 1 - their cosine similarity, times the token's attention,
    times the mean of its inner products with the mean tokens of the segment's frames. The first is
    the token whose nearest other one is farthest, each next one that whose nearest chosen one is
    farthest.

    In a segment, each token that wasn't chosen is linked to the most similar one in the frame
    before, where that is above `merge_threshold`. Linked tokens are a tree, which becomes its mean
    at the place of its first. There are no fewer trees than the segment's budget, or the least
    similar links go. Then the trees of each frame are clustered (density peaks, means) to what is
    left of the segment's budget, in proportion. Ties go to the lower index.

    Differs from the authors' code (there, `attn_div_v2`) in the budget: theirs is 1.25 R, of which
    layers from the 20th of 28 on read .3, and clusters are rounded up; here R is what all layers
    read, exactly. And in the trees: their
    least number of trees counts the chosen tokens as well, so that more is merged; and they divide
    the sum of a tree by 1 + the number of its root's direct children, not by its size, so that what
    has grandchildren isn't a mean. A chosen token isn't chosen twice, and a segment of one frame
    doesn't merge its chosen tokens once more. Noise in densities is a tie-break here.
    """

    name: ClassVar[str] = "flashvid"
    title: ClassVar[str] = "FlashVID"
    summary: ClassVar[str] = "diverse attended tokens; the rest as trees"
    paper: ClassVar[str | None] = "arXiv 2602.08024, ICLR 2026"

    contextual: Contextual = 0.3
    merge_threshold: MergeThreshold = 0.8

    def kept_of_segment(
        self, features: torch.Tensor, attention: torch.Tensor, counts: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The diverse tokens, and the means of clusters of trees."""
        per_frame = features.shape[1]
        centers = torch.stack([wide(frame).mean(0) for frame in features]).mean(0)
        is_rest = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        merged = [wide(frame).clone() for frame in features]
        chosen = []
        for frame, count in enumerate(counts):
            weights = wide(attention[frame]) * (merged[frame] @ centers)
            positions = diverse(merged[frame], weights, count - int(self.contextual * count))
            is_rest[frame, positions] = False
            chosen.append(frame * per_frame + positions)
        wanted = sum(counts) - sum(map(len, chosen))
        trees, roots = self._trees(
            merged, is_rest, max(wanted, min(sum(counts), int(is_rest.sum())))
        )
        quotas = in_proportion(wanted, trees.sum(-1).tolist())
        clustered: list[tuple[torch.Tensor, torch.Tensor]] = []
        for frame, quota in enumerate(quotas):
            members = positions = trees[frame].nonzero().flatten()
            if quota < len(members):
                positions, owner = _clustered(merged[frame], members, quota)
                at = frame * per_frame
                clustered.append((at + members, torch.where(owner < 0, owner, at + owner)))
            chosen.append(frame * per_frame + positions)
        kept = torch.cat(chosen)
        into = into_itself(kept, len(roots))
        for members, owner in clustered:
            into[members] = owner
        return kept, torch.cat(merged)[kept], into[roots]

    def _trees(
        self, merged: list[torch.Tensor], is_rest: torch.Tensor, least: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Merge links in place, backwards in time; return which tokens are first in a tree.

        And which is the first in the tree of each, `[L*N]`, int64.

        Args:
            merged: the tokens of each frame `[N, D]`.
            is_rest: `[L, N]`, bool: those that may be merged.
            least: how many trees there are at least.
        """
        similarity = torch.full(is_rest.shape, -torch.inf, device=is_rest.device)
        parents = torch.zeros(is_rest.shape, dtype=torch.int64, device=is_rest.device)
        for frame in range(1, len(merged)):
            both = F.normalize(merged[frame], dim=-1) @ F.normalize(merged[frame - 1], dim=-1).T
            both = both.float().masked_fill(~is_rest[frame - 1], -torch.inf)
            similarity[frame], parents[frame] = both.amax(-1), both.argmax(-1)
        similarity = similarity.masked_fill(~is_rest, -torch.inf)
        order = similarity.flatten().argsort(descending=True, stable=True)
        linked = torch.zeros_like(is_rest)
        linked.view(-1)[order[: int(is_rest.sum()) - least]] = True
        linked &= similarity > self.merge_threshold
        sizes = [torch.ones_like(tokens[:, 0]) for tokens in merged]
        for frame in range(len(merged) - 1, 0, -1):
            children = linked[frame].nonzero().flatten()
            into = parents[frame, children]
            member = (into == torch.arange(is_rest.shape[1], device=into.device)[:, None]).to(
                merged[frame]
            )
            merged[frame - 1] += member @ merged[frame][children]
            sizes[frame - 1] += member @ sizes[frame][children]
        for tokens, size in zip(merged, sizes, strict=True):
            tokens /= size[:, None]
        roots = torch.arange(is_rest.numel(), device=is_rest.device).view(is_rest.shape)
        for frame in range(1, len(merged)):
            before = roots[frame - 1][parents[frame]]
            roots[frame] = torch.where(linked[frame], before, roots[frame])
        return is_rest & ~linked, roots.flatten()


def diverse(tokens: torch.Tensor, weights: torch.Tensor, count: int) -> torch.Tensor:
    """Positions `[count]` of tokens `[N, D]` that are far from each other, in order of choice."""
    directions = F.normalize(tokens, dim=-1)
    # Rounded before they are subtracted: where tokens are equal, what is left would be noise.
    apart = ((1 - (directions @ directions.T).float()) * weights).float()
    chosen = torch.zeros(0, dtype=torch.int64, device=tokens.device)
    # The smallest distance to a token is that of itself, unless weights are negative.
    farness = apart.sort(dim=0).values[min(1, len(apart) - 1)]
    for _ in range(count):
        chosen = torch.cat([chosen, farness.argmax()[None]])
        farness = apart[chosen].amin(0).index_fill(0, chosen, -torch.inf)
    return chosen


def _clustered(
    tokens: torch.Tensor, positions: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace the centers of clusters in `tokens[N, D]` by the clusters' means; where they are.

    And where that of each of the positions is, `[n]`, int64.
    """
    if not count:
        return positions[:0], torch.full_like(positions, -1)
    members = tokens[positions]
    centers, owner = clustered(members, count, min(NEIGHBORS, count))
    tokens[positions[centers]] = means(members, owner, count)[0]
    return positions[centers], positions[centers][owner]

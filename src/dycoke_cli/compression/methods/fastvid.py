"""FastVID: salient tokens of each frame, and anchors that whole segments are merged into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import Contextual, shares
from dycoke_cli.compression.method import top
from dycoke_cli.compression.segments import SegmentBySegment
from dycoke_cli.compression.similar import all_but, density_peaks, distances, means, wide
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param

NEIGHBORS = 4


@dataclass(frozen=True)
class FastVID(SegmentBySegment):
    """FastVID (arXiv 2503.11187), its pruning before the language model.

    The video is cut into segments where the mean tokens of two frames are less similar than
    `segment_threshold`, and where they are least similar, into `min_segments` at least. Each frame
    gets an equal share of the budget (give or take one), of which the fraction `contextual`,
    rounded down, is set aside, and keeps as many salient tokens as is left, those with the most
    attention. What a segment has set aside goes to its anchors: its last frame and every fourth one
    before it (`anchor_every`), evenly. An anchor keeps the density peaks of its tokens that aren't
    salient. Each of the segment's tokens that aren't salient belongs to the most similar of them
    (cosine similarity), and each becomes β of itself and 1 - β of the mean of those that belong to
    it; so for each of the anchors. Where every frame is an anchor (a segment of one, for example),
    each merges its own frame's tokens alone. Ties go to the lower index.

    Differs from the authors' code in what SigLIP's pooling head says there, which checkpoints of
    transformers lack: its attention is that of the tower's last layer here, and its output for a
    frame is the frame's mean token. Shares are exact, where theirs are rounded down; where anchors
    would have to keep more tokens than they have, they stand closer. Their weight of a token is
    max(β, 1 / (n + 1)) for the n that belong to it, itself among them: β, unless that is set below
    a half. Noise in densities is a tie-break here. The authors keep positions.
    """

    name: ClassVar[str] = "fastvid"
    title: ClassVar[str] = "FastVID"
    summary: ClassVar[str] = "salient tokens, and anchors of segments"
    paper: ClassVar[str | None] = "arXiv 2503.11187"

    contextual: Contextual = 0.4
    anchor_every: Annotated[
        int,
        Param(
            "Frames of a segment per anchor; the others are merged into the anchors.",
            at_least=1,
        ),
    ] = 4
    anchor_weight: Annotated[
        float, Param("β, weight of a merged token's own features.", at_least=0, to=1)
    ] = 0.6

    def kept_of_segment(
        self, features: torch.Tensor, attention: torch.Tensor, counts: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The salient tokens, and the merged ones of the anchors."""
        per_frame = features.shape[1]
        aside = [int(self.contextual * count) for count in counts]
        salient = [
            top(scores, count - less)
            for scores, count, less in zip(attention, counts, aside, strict=True)
        ]
        others = []
        for positions in salient:
            is_other = all_but(positions, per_frame)
            others.append(is_other.nonzero().flatten())
        tokens = [wide(frame) for frame in features]
        parts = [(i * per_frame + at, tokens[i][at]) for i, at in enumerate(salient)]
        quotas = self._quotas(sum(aside), [len(at) for at in others])
        at_others = [i * per_frame + at for i, at in enumerate(others)]
        flat, everywhere = torch.cat(tokens), torch.cat(at_others)
        most = torch.full_like(flat[:, 0], -torch.inf)
        into = torch.full_like(most, -1, dtype=torch.int64)
        for anchor, quota in quotas.items():
            if quota:
                of_anchor = at_others[anchor]
                neighbors = min(NEIGHBORS, len(of_anchor))
                centers = density_peaks(distances(flat[of_anchor]), quota, neighbors)
                targets = of_anchor[centers]
                members = of_anchor if len(quotas) == len(counts) else everywhere
                merged, owner, alike = self._merged(flat[targets], flat[members])
                parts.append((targets, merged))
                # Of the targets in several anchors, the one most like it.
                best = alike > most[members]
                most[members[best]], into[members[best]] = alike[best], targets[owner[best]]
        kept, features_kept = zip(*parts, strict=True)
        into[torch.cat(kept)] = torch.cat(kept)
        return torch.cat(kept), torch.cat(features_kept), into

    def _quotas(self, total: int, room: list[int]) -> dict[int, int]:
        """How many tokens each anchor of a segment keeps, whose frames have room for so many."""
        for every in range(self.anchor_every, 0, -1):
            anchors = range((len(room) - 1) % every, len(room), every)
            quotas = dict(zip(anchors, shares(total, len(anchors)), strict=True))
            if all(quota <= room[anchor] for anchor, quota in quotas.items()):
                break
        return quotas

    def _merged(
        self, targets: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What becomes of targets `[T, D]`, into which `tokens[n, D]` are merged; the target of
        each `[n]`, int64, and how like it is.
        """
        alike = F.normalize(tokens, dim=-1) @ F.normalize(targets, dim=-1).T
        owner = alike.float().argmax(-1)
        mean, members = means(tokens, owner, len(targets))
        # One that no other is like is its own mean, or an equal target's.
        mean[members == 0] = targets[members == 0]
        merged = self.anchor_weight * targets + (1 - self.anchor_weight) * mean
        return merged, owner, alike.gather(1, owner[:, None]).flatten()

"""PruneVid: static tokens are merged over time, and then all of them in clusters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import Budgeted, MergeThreshold, in_proportion
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.segments import static_and_moving, static_positions
from dycoke_cli.compression.similar import clustered, means, wide
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param

NEIGHBORS = 7


@dataclass(frozen=True)
class PruneVid(Budgeted):
    """PruneVid (arXiv 2412.16117, ACL Findings 2025), its merging before the language model.

    Frames are clustered by their mean tokens (density peaks), into `segment_ratio` of their number.
    A cluster keeps its longest run of frames (all of equally long ones), or none where no two of
    its frames are neighbors. Other frames join the longer of the runs beside them, the earlier of
    equally long ones. Each run is a segment.

    A position is static in a segment where the mean cosine similarity of its tokens in all pairs of
    frames is above `merge_threshold`; its tokens become their mean, at the place of the first. The
    static tokens of a segment, and the others of each of its frames, are clustered (density peaks)
    to the same share of their number. Each cluster becomes its mean at its center's place. Ties go
    to the lower index.

    The paper then has one layer of the language model drop tokens, 10 of 32: of the static ones of
    each segment, and of the others of each frame, the fraction α = .4 with the largest attention of
    any head and any token of the question is kept. That isn't here: what the engine gives a method
    is the attention of the last token, in the mean over heads (`LayerPruning`), and a method
    doesn't know there which tokens are static.

    Differs from the authors' code (commit b12600c, for PLLaVA; that for LLaVA-OneVision isn't
    published) in the budget: theirs clusters every group to the half of its tokens, unless it has
    14 at most, and what is left depends on the video. Here the share is what the budget needs, of
    every group; where merging over time alone would leave fewer tokens, the static positions whose
    tokens are least alike stay apart. Noise in densities is a tie-break here, and their order
    (static tokens of a segment first) is reading order.
    """

    name: ClassVar[str] = "prunevid"
    title: ClassVar[str] = "PruneVid"
    summary: ClassVar[str] = "merges static tokens, then clusters"
    paper: ClassVar[str | None] = "arXiv 2412.16117, ACL Findings 2025"

    segment_ratio: Annotated[
        float,
        Param("Clusters of frames, as a fraction of the frames.", above=0, to=1),
    ] = 0.25
    merge_threshold: MergeThreshold = 0.8

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The clusters' means, of static tokens merged over time before."""
        features = inputs.features
        frames, per_frame = features.shape[:2]
        count = self.kept_tokens(frames, per_frame)
        segments = self._segments(features)
        alike = torch.stack([_alike(features[start:stop]) for start, stop in segments])
        most = frames * per_frame - count
        static = static_positions(alike, self.merge_threshold, segments, most)
        groups = static_and_moving(features, segments, static)
        tokens = features.flatten(0, 1)
        into = torch.full_like(tokens[:, 0], -1, dtype=torch.int64)
        kept, merged = [], []
        quotas = in_proportion(count, [len(at) for at, *_ in groups])
        for (at, over_time, length), quota in zip(groups, quotas, strict=True):
            if quota:
                of_group = wide(tokens[at]) if over_time is None else over_time
                centers, owner = clustered(of_group, quota, min(NEIGHBORS, len(at)))
                kept.append(at[centers])
                merged.append(means(of_group, owner, quota)[0])
                for frame in range(length):
                    into[at + frame * per_frame] = at[centers][owner]
        return Selection.in_reading_order(torch.cat(kept), torch.cat(merged), into)

    def _segments(self, features: torch.Tensor) -> list[tuple[int, int]]:
        """(First frame, the one behind the last) of each segment of `features[F, N, D]`."""
        frames = len(features)
        clusters = max(1, int(frames * self.segment_ratio))
        mean_tokens = torch.stack([wide(frame).mean(0) for frame in features])
        _, owner = clustered(mean_tokens, clusters, min(NEIGHBORS, frames))
        segments, start = [], 0
        for _, run in groupby(in_runs(owner.tolist())):
            segments.append((start, start := start + len([*run])))
        return segments


def in_runs(clusters: list[int]) -> list[int]:
    """The cluster of each frame, of which a cluster has its longest runs alone.

    Args:
        clusters: of each frame.

    Returns:
        The same, with the clusters of runs beside them for other frames. All are in one where no
        cluster has two frames in a row.
    """
    runs = [(cluster, len([*run])) for cluster, run in groupby(clusters)]
    longest: dict[int, int] = {}
    for cluster, length in runs:
        longest[cluster] = max(length, longest.get(cluster, 2))
    # A stretch of other frames lies between two runs that stay.
    stays: list[tuple[int | None, int]] = []
    for cluster, length in runs:
        label = cluster if length == longest[cluster] else None
        if stays and stays[-1][0] == label:
            stays[-1] = label, stays[-1][1] + length
        else:
            stays.append((label, length))
    found: list[int] = []
    for number, (label, length) in enumerate(stays):
        if label is None:
            after = stays[number + 1] if number + 1 < len(stays) else (None, 0)
            before = found[-1] if found else None
            reached = sum(1 for _ in takewhile(before.__eq__, reversed(found)))
            label = after[0] if after[1] > reached else before
        found += [0 if label is None else label] * length
    return found


def _alike(features: torch.Tensor) -> torch.Tensor:
    """Mean cosine similarity of all pairs of frames at each position, `[N]`, float32.

    Args:
        features: `[L, N, D]`, float; of one frame it is -inf.
    """
    length = len(features)
    if length == 1:
        return torch.full(features.shape[1:2], -torch.inf, device=features.device)
    # The sum of all products of directions, those with themselves among them.
    whole = torch.zeros_like(wide(features[0]))
    for frame in features:
        whole += F.normalize(wide(frame), dim=-1)
    return (((whole**2).sum(-1) - length) / (length * (length - 1))).float()

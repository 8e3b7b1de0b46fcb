"""HoliTom: static tokens are merged over segments of time, the rest kept by attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import Budgeted, MergeThreshold, in_proportion
from dycoke_cli.compression.method import Need, Selection, SelectionInputs, top
from dycoke_cli.compression.segments import static_and_moving, static_positions
from dycoke_cli.compression.similar import (
    all_but,
    clustered,
    means,
    similarity_to_frame_before,
    wide,
)
from dycoke_cli.lazy_torch import torch

NEIGHBORS = 7
CENTER_WEIGHT = 0.6
"""β: how much of a cluster's center is in the merged token of a cluster."""


@dataclass(frozen=True)
class HoliTom(Budgeted):
    """HoliTom (arXiv 2505.21334, NeurIPS 2025): merging over time.

    A position is static in a segment of frames where each of its tokens has a cosine similarity
    above `merge_threshold` with the one in the frame before. Segments are chosen by dynamic
    programming so that most tokens are saved if static ones become their mean over the segment (of
    equally good choices, the shorter segment at the end). Then static tokens of each segment, and
    the others of each frame, keep their share of the budget: of the others those with the most
    attention; of static ones the density peaks, each of which becomes β of itself and 1 - β of the
    mean of the tokens that are nearest to it. Static tokens are placed in their segment's first
    frame. Ties go to the lower index.

    Differs from the authors' code in the budget, which there comes out near R of the tokens: shares
    are rounded so that it is exact, and where merging over time alone would leave fewer tokens,
    the static positions whose tokens are least alike stay apart. Their noise in the densities is a
    tie-break here, and their order (static tokens of a segment first) is reading order. Their
    merging inside the language model (M) isn't here. At R = .1 their scripts set
    `merge_threshold` to .65.
    """

    name: ClassVar[str] = "holitom"
    title: ClassVar[str] = "HoliTom"
    summary: ClassVar[str] = "merges static tokens; the rest by attention"
    paper: ClassVar[str | None] = "arXiv 2505.21334, NeurIPS 2025"
    needs: ClassVar[tuple[Need, ...]] = ("attention",)

    merge_threshold: MergeThreshold = 0.8

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens kept, static ones merged over time and with their neighbors."""
        assert inputs.attention is not None, "named in needs"
        features, attention = inputs.features, inputs.attention
        frames, per_frame = features.shape[:2]
        alike = similarity_to_frame_before(features)
        segments = list(segments_of(alike > self.merge_threshold))
        count = self.kept_tokens(frames, per_frame)
        least = [
            alike[start : stop - 1].amin(0)
            if stop - start > 1
            else alike.new_full(alike.shape[1:], -torch.inf)
            for start, stop in segments
        ]
        static = static_positions(
            torch.stack(least), self.merge_threshold, segments, frames * per_frame - count
        )
        groups = static_and_moving(features, segments, static)
        tokens, scores = features.flatten(0, 1), attention.flatten()
        kept, merged = [], []
        into = torch.full_like(scores, -1, dtype=torch.int64)
        quotas = in_proportion(count, [len(at) for at, *_ in groups])
        for (at, static_tokens, length), quota in zip(groups, quotas, strict=True):
            if static_tokens is None:
                best = at[top(scores[at], quota)]
                into[best] = best
                kept.append(best)
                merged.append(wide(tokens[best]))
            elif quota:
                centers, clusters, owner = _clustered(static_tokens, quota)
                for frame in range(length):
                    into[at + frame * per_frame] = at[centers][owner]
                kept.append(at[centers])
                merged.append(clusters)
        return Selection.in_reading_order(torch.cat(kept), torch.cat(merged), into)


def segments_of(still: torch.Tensor) -> Iterator[tuple[int, int]]:
    """The segments of frames that save most: (first frame, the one behind the last).

    Args:
        still: `[F - 1, N]`, bool: whether a token is like the one in the frame before.
    """
    frames, per_frame = len(still) + 1, still.shape[1]
    saved, lengths = [0], [1]
    run = torch.zeros(per_frame, dtype=torch.int64)
    for now in still.cpu():
        # For how many steps before this frame each position has stood still.
        run = (run + 1) * now
        end = len(saved)
        best, length = saved[-1], 1
        standing = run.bincount(minlength=end + 1).flip(0).cumsum(0).flip(0).tolist()
        for steps in range(1, end + 1):
            before = saved[end - steps - 1] if steps < end else 0
            if before + standing[steps] * steps > best:
                best, length = before + standing[steps] * steps, steps + 1
        saved.append(best)
        lengths.append(length)
    found, end = [], frames
    while end:
        found.append((end - lengths[end - 1], end))
        end -= lengths[end - 1]
    return reversed(found)


def _clustered(tokens: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Centers `[count]` among `tokens[n, D]`, the clusters' merged tokens `[count, D]`, and the
    cluster of each token, `[n]`, int64.
    """
    centers, owner = clustered(tokens, count, min(NEIGHBORS, count))
    is_other = all_but(centers, len(tokens))
    mean, members = means(tokens[is_other], owner[is_other], count)
    center = wide(tokens[centers])
    merged = CENTER_WEIGHT * center + (1 - CENTER_WEIGHT) * mean
    return centers, torch.where(members[:, None] > 0, merged, center), owner

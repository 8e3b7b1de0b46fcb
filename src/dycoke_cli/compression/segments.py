"""Segments of a video between cuts, and the positions that stay the same within one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import FrameBudgeted
from dycoke_cli.compression.method import Need, Selection, SelectionInputs, counted_on
from dycoke_cli.compression.similar import cosine_similarity, wide
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param


def segments_at_cuts(features: torch.Tensor, threshold: float, least: int) -> list[tuple[int, int]]:
    """Segments that end where a frame's mean token is unlike the next one's.

    Args:
        features: `[F, N, D]`, float.
        threshold: of the cosine similarity; below it there is a cut.
        least: segments; where there are fewer, the least alike frames are cut apart as well (of
            equal ones the earlier).

    Returns:
        (first frame, the one behind the last) of each.
    """
    means = torch.stack([wide(frame).mean(0) for frame in features])
    alike = cosine_similarity(means[1:], means[:-1])
    is_cut = alike < threshold
    is_cut[alike.argsort(stable=True)[: least - 1]] = True
    cuts = (is_cut.nonzero().flatten() + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(features)], strict=True))


@dataclass(frozen=True)
class SegmentBySegment(FrameBudgeted):
    """Each frame has a share of the budget, and each segment chooses from its frames."""

    needs: ClassVar[tuple[Need, ...]] = ("attention",)

    segment_threshold: Annotated[
        float, Param("Frames less similar than this are in different segments.", at_least=-1, to=1)
    ] = 0.9
    min_segments: Annotated[int, Param("Minimum number of segments of a video.", at_least=1)] = 8

    def choose(self, inputs: SelectionInputs) -> Selection:
        """What `kept_of_segment` keeps of each."""
        assert inputs.attention is not None, "named in needs"
        per_frame, counts = inputs.features.shape[1], self.tokens_of_frames(inputs)
        kept, merged, into = [], [], []
        for start, stop in segments_at_cuts(
            inputs.features, self.segment_threshold, self.min_segments
        ):
            of_segment = slice(start, stop)
            at, tokens, at_into = self.kept_of_segment(
                inputs.features[of_segment], inputs.attention[of_segment], counts[of_segment]
            )
            first = start * per_frame
            into.append(counted_on(at_into, first))
            kept.append(first + at)
            merged.append(tokens)
        return Selection.in_reading_order(torch.cat(kept), torch.cat(merged), torch.cat(into))

    def kept_of_segment(
        self, features: torch.Tensor, attention: torch.Tensor, counts: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Indices `[M]`, in any order, and features `[M, D]` of the tokens kept of one segment.

        And for each of its tokens the one that represents it, `[L*N]`, see `Selection.into`.

        Args:
            features: `[L, N, D]`, float.
            attention: `[L, N]`, float32.
            counts: of its frames: together they are M.
        """
        raise NotImplementedError


def static_positions(
    alike: torch.Tensor, threshold: float, segments: Sequence[tuple[int, int]], most: int
) -> torch.Tensor:
    """Which positions are static in each segment: `[S, N]`, bool.

    Args:
        alike: `[S, N]`, float32: how alike the tokens of a position are over a segment; -inf in a
            segment of one frame.
        threshold: above it a position is static.
        segments: (first frame, the one behind the last) of each.
        most: tokens that may go when the tokens of static positions become one. Where more would,
            the least alike positions stay apart (of equal ones those of the lower index).
    """
    static = alike > threshold
    saved = torch.tensor([stop - start - 1 for start, stop in segments], device=alike.device)
    saved = static * saved[:, None]
    order = alike.masked_fill(~static, torch.inf).flatten().argsort(stable=True)
    over = int(saved.sum()) - most
    if over > 0:
        apart = int((saved.flatten()[order].cumsum(0) < over).sum()) + 1
        static.view(-1)[order[:apart]] = False
    return static


def static_and_moving(
    features: torch.Tensor, segments: Sequence[tuple[int, int]], static: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor | None, int]]:
    """The tokens of each segment in groups: static ones once, and the others of each frame.

    Args:
        features: `[F, N, D]`, float.
        segments: (first frame, the one behind the last) of each.
        static: `[S, N]`, bool.

    Returns:
        Of each group the flat indices of its tokens, `[n]`, int64, of static ones in the segment's
        first frame; the means of static ones over the segment `[n, D]`, in the widest dtype, or
        None of others; and over how many frames these are.
    """
    per_frame = features.shape[1]
    groups: list[tuple[torch.Tensor, torch.Tensor | None, int]] = []
    for (start, stop), still in zip(segments, static, strict=True):
        if still.any():
            over_time = torch.stack([wide(f[still]) for f in features[start:stop]]).mean(0)
            groups.append((start * per_frame + still.nonzero().flatten(), over_time, stop - start))
        moving = (~still).nonzero().flatten()
        groups += [(frame * per_frame + moving, None, 1) for frame in range(start, stop)]
    return groups

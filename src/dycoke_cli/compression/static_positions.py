"""Positions that stand still over a segment of a video, whose tokens become one there."""

from __future__ import annotations

from collections.abc import Sequence

from dycoke_cli.compression.similarity import wide
from dycoke_cli.lazy_torch import torch


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

"""Segments of a video whose frames are alike, by their mean tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dycoke_cli.compression.similarity import cosine_similarity, wide

if TYPE_CHECKING:
    import torch


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
    import torch

    means = torch.stack([wide(frame).mean(0) for frame in features])
    alike = cosine_similarity(means[1:], means[:-1])
    is_cut = alike < threshold
    is_cut[alike.argsort(stable=True)[: least - 1]] = True
    cuts = (is_cut.nonzero().flatten() + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(features)], strict=True))

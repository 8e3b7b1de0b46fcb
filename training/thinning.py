"""Thins long videos to a number of tokens, as compression does before the language model.

A model that has only ever read whole frames can't read what coverage leaves of an hour: single
tokens, far apart, each the mean of those that it stands for. So it learns from them. Here coverage
compares pixels in place of embeddings: so whatever makes batches needs no model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dycoke_cli.compression import coverage
from training.architectures.base import PATCH

if TYPE_CHECKING:
    from training.batches import Batch

WINDOWS = 32
"""Windows of a video within which tokens represent each other: they grow with its length."""
# Sides of the squares whose mean colours are compared, and of a token's own square, in pixels.
CELL, SQUARE = 4, 2 * PATCH
# What all tokens have in common beside their colours, from -1 to 1: without it gray, which is 0,
# would have no direction but that of its noise.
COMMON = 3.0


def thinned(batch: Batch, pool: int, *, renumbered: bool) -> Batch:
    """The batch with so many visual tokens a video, as one step.

    Args:
        batch: of long videos, its pixels [B, F, 3, side, side].
    """
    count = batch.seen.shape[1] * batch.seen.shape[2]
    behind = batch.positions.shape[1] - batch.text.shape[1] - 1
    before = behind - count
    seconds = (batch.positions[:, before:behind] - before) // batch.seen.shape[2]
    window = max(1, batch.spread // WINDOWS)
    kept, slots = [], []
    for pixels, when in zip(batch.pixels, seconds, strict=True):
        tokens = colours(pixels)
        lengths = torch.unique_consecutive(when // window, return_counts=True)[1].tolist()
        alike = coverage.alike_in(tokens, when.float() / window, lengths)
        of_video = coverage.most_covering(alike, pool).sort().values
        selection = coverage.merged(tokens, alike, of_video)
        assert selection.into is not None, "coverage merges"
        of_kept = torch.searchsorted(selection.kept, selection.into)
        kept.append(selection.kept)
        slots.append(of_kept.where(selection.into >= 0, pool))
    chosen = torch.stack(kept)
    rows, length = len(chosen), batch.positions.shape[1]
    head, rest = torch.arange(before).expand(rows, -1), torch.arange(behind, length)
    order = torch.cat([head, chosen + before, rest.expand(rows, -1)], dim=1)
    positions = batch.positions.gather(1, order)
    if renumbered:
        end = before + pool
        gaps = positions[:, end:] - positions[:, end : end + 1]
        positions = torch.cat([torch.arange(end).expand(rows, -1), end + gaps], dim=1)

    def left(facts: Tensor) -> Tensor:
        every = facts.flatten(1, 2)
        return every.gather(1, chosen[..., None].expand(-1, -1, every.shape[-1]))[:, None]

    return replace(
        batch,
        slots=torch.stack(slots),
        positions=positions,
        dropped=batch.dropped.gather(1, order),
        seen=left(batch.seen),
        changed=left(batch.changed),
        known=left(batch.known),
        earlier=left(batch.earlier),
    )


def colours(pixels: Tensor) -> Tensor:
    """What coverage compares, of each token: [F, 3, side, side] float -> [F * N, 49] float32."""
    cells = nn.functional.avg_pool2d(pixels.float(), CELL)
    squares = cells.unfold(2, SQUARE // CELL, SQUARE // CELL).unfold(3, *[SQUARE // CELL] * 2)
    tokens = squares.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    return torch.cat([tokens, torch.full((len(tokens), 1), COMMON)], dim=1)


def merged(video: Tensor, slots: Tensor, pool: int) -> Tensor:
    """Visual tokens in the means of those that each one left stands for.

    Args:
        video: [B, V + 1, D], the last one ends the video.
        slots: [B, V] int64, the number of the token that each one is part of; M for none.
        pool: M.

    Returns:
        [B, M + 1, D].
    """
    rows, count = slots.shape
    where = slots[..., None].expand(-1, -1, video.shape[-1])
    sums = torch.zeros(rows, pool + 1, video.shape[-1], device=video.device)
    sums = sums.scatter_add(1, where, video[:, :count].float())
    sizes = torch.zeros(rows, pool + 1, device=video.device)
    sizes = sizes.scatter_add(1, slots, torch.ones_like(slots, dtype=sizes.dtype))
    means = sums[:, :pool] / sizes[:, :pool, None]
    return torch.cat([means.to(video.dtype), video[:, count:]], dim=1)

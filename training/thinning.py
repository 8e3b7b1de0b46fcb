"""Thins the long videos of a batch, as compression does before the language model.

A model that has only ever read whole frames can't read what coverage leaves of an hour: single
tokens, far apart. So it learns from them, each the mean of those that it stands for.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dycoke_cli.compression.coverage import cover_and_merge
from training.batches import Batch
from training.tokenizer import Codec

WINDOWS = 32
"""Windows of a video within which tokens represent each other: they grow with its length."""


def thinned(batch: Batch, inputs: Tensor, prefix: int, codec: Codec) -> tuple[Batch, Tensor, int]:
    """The batch with `pool` visual tokens a video, as one step, its inputs, and their prefix.

    Args:
        batch: of long videos.
        inputs: [B, P + T, D], as `embed` gives them; gradients flow through the merged tokens.
        prefix: P.
        codec: of the prompt.
    """
    before, behind = len(codec.prefix), prefix - 1
    tokens, places = inputs[:, before:behind], batch.positions[:, before:behind]
    seconds = ((places - before) // batch.seen.shape[2]).cpu()
    window = max(1, batch.spread // WINDOWS)
    kept, merged = [], []
    # On the CPU, where coverage selects anyway: one copy in place of one a window.
    compared = tokens.detach().float().cpu()
    for row, features, when in zip(tokens, compared, seconds, strict=True):
        selection = cover_and_merge(features, when, batch.pool, window)
        assert selection.into is not None, "coverage merges"
        kept.append(selection.kept)
        merged.append(_means(row, selection.kept, selection.into))
    places_kept = torch.stack(kept).to(inputs.device)
    head, end = torch.arange(before), torch.tensor([behind])
    text = torch.arange(prefix, inputs.shape[1])
    left = [part.expand(len(kept), -1).to(inputs.device) for part in (head, end, text)]
    order = torch.cat([left[0], places_kept + before, *left[1:]], dim=1)
    positions = batch.positions.gather(1, order)
    length = before + batch.pool
    if batch.renumbered:
        gap = positions[:, length : length + 1] - length
        line = torch.arange(length, device=inputs.device).expand(len(kept), -1)
        positions = torch.cat([line, positions[:, length:] - gap], dim=1)

    def of_kept(facts: Tensor) -> Tensor:
        each = facts.flatten(1, 2)
        return each.gather(1, places_kept[..., None].expand(-1, -1, each.shape[-1]))[:, None]

    video = torch.stack(merged).to(inputs.dtype)
    return (
        replace(
            batch,
            positions=positions,
            dropped=batch.dropped.gather(1, order),
            seen=of_kept(batch.seen),
            changed=of_kept(batch.changed),
            known=of_kept(batch.known),
            earlier=of_kept(batch.earlier),
        ),
        torch.cat([inputs[:, :before], video, inputs[:, behind:]], dim=1),
        length + 1,
    )


def _means(tokens: Tensor, kept: Tensor, into: Tensor) -> Tensor:
    """Each kept token [M] with those of [V, D] that it represents: their mean [M, D], float32."""
    owner = torch.searchsorted(kept, into).where(into >= 0, len(kept)).to(tokens.device)
    sums = tokens.new_zeros(len(kept) + 1, tokens.shape[1], dtype=torch.float32)
    sizes = torch.bincount(owner, minlength=len(kept) + 1)
    return (sums.index_add(0, owner, tokens.float()) / sizes.clamp(min=1)[:, None])[:-1]

"""Shortens the prompt, as the text decoder is about to read it, to the rows a method keeps."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.attention import STORE_ARGUMENT
from dycoke_cli.engine.kv_store import KVStore
from dycoke_cli.engine.stats import DecodeStats
from dycoke_cli.engine.trace import Recorder
from dycoke_cli.errors import UsageError
from dycoke_cli.models.layouts import Layout


def shorten(
    kwargs: dict[str, Any], layout: Layout, method: Method, layers: int, *, trace: bool = False
) -> tuple[dict[str, Any], KVStore]:
    """Drop what the method doesn't keep from everything that has a row a token.

    Padding is dropped as well, so that no later step needs a mask.

    Args:
        kwargs: of the text decoder: `inputs_embeds` [1, S, D], `position_ids` [..., 1, S] or None,
            `attention_mask` [1, S] or None.
        layout: of the S rows.
        method: the choice.
        layers: of the text decoder.
        trace: whether each decoding step is taken down.

    Returns:
        The arguments of the shortened prefill, and the store that is its cache.
    """
    embeds = kwargs["inputs_embeds"]
    sequence = embeds.shape[1]
    kept = method.select(layout.grid(embeds[0]))
    rows, visual = _rows_to_read(layout, kept, kwargs.get("attention_mask"), sequence)
    rows = rows.to(embeds.device)

    padding = _padding(kwargs.get("attention_mask"))
    positions = kwargs.get("position_ids")
    if positions is None:  # as generate() makes them: padding is left, and doesn't count
        positions = torch.arange(sequence, device=embeds.device)[None] - padding
    positions = positions.expand(*positions.shape[:-2], 1, sequence)
    if method.renumbers():
        if positions.dim() != 2:
            raise UsageError("3-D rotary positions can't be renumbered; use positions kept")
        shift = sequence - padding - len(rows)
        positions = torch.arange(len(rows), device=embeds.device)[None]
    else:
        shift = 0
        positions = positions[..., rows]

    pruning = method.pruning()
    store = KVStore(
        layers=layers,
        sequence=sequence,
        padding=padding,
        visual=visual,
        rows=len(rows),
        position_shift=shift,
        inside=method.inside(),
        pruning=pruning,
        stats=DecodeStats(visual=len(layout.index), visual_kept=len(kept)),
        recorder=Recorder(pruning.layer - 1, layout, kept) if trace and pruning else None,
    )
    shortened = kwargs | {
        "inputs_embeds": embeds[:, rows],
        "position_ids": positions,
        "attention_mask": None,
        "past_key_values": store,
        STORE_ARGUMENT: store,
    }
    return shortened, store


def _rows_to_read(
    layout: Layout, kept: torch.Tensor, mask: torch.Tensor | None, sequence: int
) -> tuple[torch.Tensor, range]:
    """The rows of the shortened sequence, in order, and the stretch of it that is visual."""
    device = layout.index.device
    is_text = torch.ones(sequence, dtype=torch.bool, device=device)
    is_text[layout.index] = False
    if mask is not None:
        is_text &= mask[0].to(device).bool()
    text = is_text.nonzero().flatten()
    first, last = layout.index[0], layout.index[-1]
    before, behind = text[text < first], text[text > last]
    if len(before) + len(behind) != len(text):
        raise UsageError("text between the frames of a video isn't supported yet")
    visual = layout.index[kept.to(device)]
    return (
        torch.cat([before, visual, behind]),
        range(len(before), len(before) + len(visual)),
    )


def _padding(mask: torch.Tensor | None) -> int:
    return 0 if mask is None else int((mask == 0).sum())

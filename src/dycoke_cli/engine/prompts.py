"""A batch of prompts about videos that are already encoded, padded left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dycoke_cli.engine.encode import Encoded
from dycoke_cli.models.families.family import TYPES


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Args:
        input_ids: `[1, S]`, int64.
        beside: what goes with the ids: kinds of tokens `[1, S]`, the grid that positions are made
            from.
        placeholders: `[1, S]`, bool: where the video stands.
        video: its rows.
    """

    input_ids: torch.Tensor
    beside: dict[str, torch.Tensor]
    placeholders: torch.Tensor
    video: Encoded


@dataclass(frozen=True)
class Batch:
    """Prompts of equal length.

    Args:
        input_ids: `[B, S]`, int64.
        mask: `[B, S]`, int64: 0 in the padding.
        beside: what goes with the ids.
        placeholders: `[B, S]`, bool.
        videos: one for each prompt that shows one.
    """

    input_ids: torch.Tensor
    mask: torch.Tensor
    beside: dict[str, torch.Tensor]
    placeholders: torch.Tensor
    videos: list[Encoded]


def without_video(input_ids: torch.Tensor) -> Batch:
    """Prompts of text alone: `[B, S]`, int64, without padding."""
    return Batch(
        input_ids=input_ids,
        mask=torch.ones_like(input_ids),
        beside={},
        placeholders=torch.zeros_like(input_ids, dtype=torch.bool),
        videos=[],
    )


def together(prompts: Sequence[Prompt], pad: int) -> Batch:
    """A batch of prompts, in their order.

    Args:
        prompts: of one model.
        pad: the token id that pads; no attention goes to it.
    """
    longest = max(prompt.input_ids.shape[1] for prompt in prompts)

    def padded(rows: Sequence[torch.Tensor], value: int) -> torch.Tensor:
        return torch.cat(
            [torch.nn.functional.pad(r, (longest - r.shape[1], 0), value=value) for r in rows]
        )

    beside = {
        name: padded([p.beside[name] for p in prompts], 0)
        if name == TYPES
        else torch.cat([p.beside[name] for p in prompts])
        for name in prompts[0].beside
    }
    return Batch(
        input_ids=padded([p.input_ids for p in prompts], pad),
        mask=padded([torch.ones_like(p.input_ids) for p in prompts], 0),
        beside=beside,
        placeholders=padded([p.placeholders for p in prompts], 0),
        videos=[p.video for p in prompts],
    )

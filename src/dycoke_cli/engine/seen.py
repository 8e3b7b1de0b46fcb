"""What a forward of the model was called with, kept until its text decoder is about to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout, family_of
from dycoke_cli.models.families.family import TYPES


@dataclass(frozen=True)
class Prompt:
    """The token ids of a batch of prompts.

    Args:
        input_ids: `[B, S]`, int64.
        mask: the same shape: 0 in the padding; None without padding.
        types: the same shape: which tokens are visual, or None.
        videos: how many there are, where that can be told.
        last_alone: whether nothing is made of any row but the last, as `generate()` wants it.
    """

    input_ids: torch.Tensor
    mask: torch.Tensor | None
    types: torch.Tensor | None
    videos: int | None
    last_alone: bool

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prompt | None:
        """From the arguments of the model; None in a decoding step, or without token ids."""
        input_ids = kwargs.get("input_ids", args[0] if args else None)
        if input_ids is None or input_ids.shape[1] == 1:
            return None
        kept = kwargs.get("logits_to_keep")
        last_alone = isinstance(kept, int) and kept == 1
        mask = kwargs.get("attention_mask")
        return cls(input_ids, mask, kwargs.get(TYPES), _videos(kwargs), last_alone)

    def layouts(self, config: Any, kwargs: dict[str, Any]) -> list[Layout | None]:
        """Where the visual tokens stand in each sequence; None for one without a video.

        Args:
            config: of the model.
            kwargs: of its text decoder, whose positions tell places in time, height and width.

        Raises:
            UsageError: more than one video in a sequence, or frames of unequal size.
        """
        family = family_of(config)
        positions = kwargs.get("position_ids")
        found = [
            family.layout(
                config,
                row,
                None
                if positions is None or positions.dim() < 3
                else positions[:, min(i, positions.shape[1] - 1)],
                None if self.types is None else self.types[i],
            )
            for i, row in enumerate(self.input_ids)
        ]
        if self.videos is not None and self.videos > sum(x is not None for x in found):
            raise UsageError("a prompt with more than one video isn't supported yet")
        return found


def _videos(kwargs: dict[str, Any]) -> int | None:
    """How many videos a prompt shows: encoded by `generate()` before (5.18 on), or as grids."""
    encoded = (kwargs.get("mm_encoder_outputs") or {}).get("video")
    rows = getattr(encoded, "pooler_output", None)
    if isinstance(rows, list | tuple):
        return len(rows)
    grids = kwargs.get("video_grid_thw")
    return None if grids is None else len(grids)

"""The inputs of a model and its text decoder, and how tokens are removed from them.

The token ids are at hand before the model, positions and embeddings before its text decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout, family_of
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.families.layout import PER_TOKEN

# Arguments with one value per token that `prefill.shorten` makes anew.
OTHERS = ("position_ids", "attention_mask")


@dataclass(frozen=True)
class ModelInputs:
    """The token ids of a batch of prompts, kept until the text decoder runs."""

    input_ids: torch.Tensor  # `[B, S]`, int64
    mask: torch.Tensor | None  # the same shape: 0 in the padding; None without padding
    types: torch.Tensor | None  # the same shape: which tokens are visual, or None
    videos: int | None  # how many there are, where that can be told
    frames: int | None  # of the first video, where that can be told
    last_logits_only: bool  # whether only the last position's logits are wanted, as by `generate()`

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ModelInputs | None:
        """From the arguments of the model; None in a decoding step, or without token ids."""
        input_ids = kwargs.get("input_ids", args[0] if args else None)
        if input_ids is None or input_ids.shape[1] == 1:
            return None
        # A tensor there is a list of positions, for which chunks would have to be put together.
        logits_to_keep = kwargs.get("logits_to_keep")
        last_only = isinstance(logits_to_keep, int) and logits_to_keep == 1
        mask = kwargs.get("attention_mask")
        grids = kwargs.get("video_grid_thw")
        frames = None if grids is None or len(grids) != 1 else int(grids[0, 0])
        return cls(input_ids, mask, kwargs.get(TYPES), _videos(kwargs), frames, last_only)

    def not_padding(self) -> torch.Tensor:
        """`[B, S]`, bool, on the CPU: false in the padding."""
        mask = self.mask
        return (
            torch.ones(self.input_ids.shape, dtype=torch.bool)
            if mask is None
            else mask.bool().cpu()
        )

    def layouts(
        self,
        config: Any,
        kwargs: dict[str, Any],
        placeholders: Sequence[Sequence[int]] = (),
        frames: int | None = None,
    ) -> list[list[Layout]]:
        """Where the visual tokens of each video are, in each sequence."""
        family = family_of(config)
        positions = kwargs.get("position_ids")
        layouts = [
            family.layouts(
                config,
                ids,
                None
                if positions is None or positions.dim() < 3
                else positions[:, min(i, positions.shape[1] - 1)],
                None if self.types is None else self.types[i],
                placeholders[i] if placeholders else None,
                frames or self.frames,
            )
            for i, ids in enumerate(self.input_ids)
        ]
        # In families without an entry of their own the features of one video may be listed frame by
        # frame, so they aren't a count of videos.
        videos = None if family.stock_inputs else self.videos
        if videos is not None and videos > sum(map(len, layouts)):
            raise UsageError("a prompt with more than one video isn't supported yet")
        return layouts


@dataclass(frozen=True)
class EmbeddedPrompts:
    """A batch of prompts before the text decoder."""

    embeddings: torch.Tensor  # `[B, S, D]`
    # where the visual tokens of each are, for each of its videos
    layouts: Sequence[Sequence[Layout]]
    stays: torch.Tensor  # `[B, S]`, bool: false in the padding
    tail: int  # rows between the last visual token and the text behind the video
    # `[F]`, float32: of all frames of the only prompt, see `SelectionInputs`; None where no method
    # needs it
    frame_attention: torch.Tensor | None = None

    @property
    def joined(self) -> list[Layout | None]:
        """Where all visual tokens of each are; None for one without a video."""
        return [Layout.join(layouts) for layouts in self.layouts]


def _videos(kwargs: dict[str, Any]) -> int | None:
    """How many videos a prompt shows: encoded by `generate()` before (5.18 on), or as grids."""
    encoded = (kwargs.get("mm_encoder_outputs") or {}).get("video")
    features = getattr(encoded, "pooler_output", None)
    if isinstance(features, list | tuple):
        return len(features)
    grids = kwargs.get("video_grid_thw")
    return None if grids is None else len(grids)


def arguments_at(kwargs: dict[str, Any], at: torch.Tensor) -> dict[str, Any]:
    """The arguments of the text decoder that have one value per token, of these tokens.

    Args:
        kwargs: of the text decoder, for S tokens.
        at: `[B, R]`, int64: which.

    Returns:
        Those of PER_TOKEN that are there, `[B, R, ...]`.

    Raises:
        UsageError: an argument that seems to have one value per token, but isn't known.
    """
    # A new version may add such an argument. At full length beside shortened ones it could give
    # wrong answers without an error, so any tensor of that size is refused.
    sequence = kwargs["inputs_embeds"].shape[1]
    for name, value in kwargs.items():
        if torch.is_tensor(value) and sequence in value.shape and name not in (*PER_TOKEN, *OTHERS):
            raise UsageError(
                f"the text decoder gets an argument {name} with one value per token, which isn't "
                "known; --method none works"
            )
    return {
        name: take(kwargs[name], at.to(kwargs[name].device))
        for name in PER_TOKEN
        if kwargs.get(name) is not None
    }


def take(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Of `values[B, S, ...]` those at `at[B, R]`: `[B, R, ...]`."""
    return values[torch.arange(len(at), device=at.device)[:, None], at]

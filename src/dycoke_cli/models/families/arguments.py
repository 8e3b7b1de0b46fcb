"""Per-token arguments of a stock text decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PER_TOKEN = ("inputs_embeds", "per_layer_inputs", "moe_mm_token_type_ids")
"""Arguments with one value per token, [B, S, ...].

In this order: embeddings, Gemma's per-layer inputs, ERNIE's token types.
"""

DEEPSTACK, VISUAL_MASK = "deepstack_visual_embeds", "visual_pos_masks"
"""Visual embeddings added after the first layers (DeepStack), and the mask of their tokens."""


def with_video(
    kwargs: dict[str, Any],
    places: torch.Tensor,
    embeddings: torch.Tensor,
    deepstack: Sequence[torch.Tensor],
) -> dict[str, Any]:
    """Insert the embeddings of an encoded video into decoder arguments.

    Args:
        kwargs: of the text decoder; `inputs_embeds` [B, S, D] is modified in place.
        places: `[B, S]`, bool: mask of the video's placeholders.
        embeddings: `[R, D]`: one per placeholder.
        deepstack: DeepStack embeddings `[R, D]`, one tensor per layer, if any.
    """
    embeds = kwargs["inputs_embeds"]
    places = places.to(embeds.device)
    embeds[places] = embeddings.to(embeds)
    if not deepstack:
        return kwargs
    return kwargs | {VISUAL_MASK: places, DEEPSTACK: list(deepstack)}

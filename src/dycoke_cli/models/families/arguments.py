"""Arguments of a stock text decoder that belong to single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PER_TOKEN = ("inputs_embeds", "per_layer_inputs", "moe_mm_token_type_ids")
"""Arguments of a text decoder with one value per token, [B, S, ...].

Embeddings; what Gemma adds in each layer; ERNIE's kinds of tokens.
"""

DEEPSTACK, VISUAL_MASK = "deepstack_visual_embeds", "visual_pos_masks"
"""Embeddings that are added behind the first layers, and the tokens that they are added to."""


def with_video(
    kwargs: dict[str, Any],
    places: torch.Tensor,
    embeddings: torch.Tensor,
    deepstack: Sequence[torch.Tensor],
) -> dict[str, Any]:
    """The arguments with a video in them that was encoded before.

    Args:
        kwargs: of the text decoder; `inputs_embeds` [B, S, D] is written to.
        places: `[B, S]`, bool: the placeholders of the video.
        embeddings: `[R, D]`: one per placeholder.
        deepstack: more of them `[R, D]` for each of the first layers, if any.
    """
    embeds = kwargs["inputs_embeds"]
    places = places.to(embeds.device)
    embeds[places] = embeddings.to(embeds)
    if not deepstack:
        return kwargs
    return kwargs | {VISUAL_MASK: places, DEEPSTACK: list(deepstack)}

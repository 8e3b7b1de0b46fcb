"""LLaVA-OneVision: every frame a square of tokens, one newline token behind the last."""

from __future__ import annotations

import math
from typing import Any

import torch

from dycoke_cli.models.layouts.layout import Layout, equal_frames


def placeholder(config: Any) -> int:
    """The token id that stands for a visual token in a prompt."""
    return config.video_token_id


def tokens_per_frame(config: Any) -> int:
    """Visual tokens a frame: the patch grid, halved on each side by bilinear pooling.

    Args:
        config: a `LlavaOnevisionConfig`.
    """
    side = config.vision_config.image_size // config.vision_config.patch_size
    return math.ceil(side / 2) ** 2


def layout(config: Any, input_ids: torch.Tensor) -> Layout | None:
    """Where the visual tokens of `input_ids[S]` stand, or None where there is no video."""
    return equal_frames(input_ids, placeholder(config), tokens_per_frame(config))


def frames(inputs: dict[str, torch.Tensor]) -> int:
    """How many frames the processor made of one video."""
    return inputs["pixel_values_videos"].shape[1]


def chunk(
    config: Any, inputs: dict[str, torch.Tensor], start: int, stop: int
) -> tuple[dict[str, torch.Tensor], slice]:
    """The inputs with which frames `start` … `stop` are encoded alone.

    Args:
        config: of the model.
        inputs: `pixel_values_videos` [1, F, 3, height, width].
        start: first frame.
        stop: behind the last frame.

    Returns:
        The model's inputs, and which rows at the text decoder are the chunk's: all, but the
        newline of any chunk that isn't the last.
    """
    pixels = inputs["pixel_values_videos"]
    tokens = (stop - start) * tokens_per_frame(config)
    placeholders = torch.full((1, tokens + 1), placeholder(config))
    keep = slice(None) if stop == pixels.shape[1] else slice(tokens)
    return {"input_ids": placeholders, "pixel_values_videos": pixels[:, start:stop]}, keep

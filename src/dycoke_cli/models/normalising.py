"""Rescales and normalises pixels as the stock video processor does, later: bytes are a quarter."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.models.layouts.pixels import Pixels


def normalised(pixels: torch.Tensor, video_processor: Any, layout: Pixels) -> torch.Tensor:
    """The floats that the stock processor would have made.

    Args:
        pixels: uint8, resized and cut by the processor; floats are returned as they are.
        video_processor: with its own mean, standard deviation and scale.
        layout: knows where channels stand.

    Returns:
        float32, of the same shape.
    """
    if pixels.is_floating_point():
        return pixels
    scale = video_processor.rescale_factor if video_processor.do_rescale else 1.0
    values = pixels.float()
    if not video_processor.do_normalize:
        return values * scale
    mean, std = (
        layout.by_channel(torch.tensor(numbers, device=pixels.device) * (1.0 / scale), pixels)
        for numbers in (video_processor.image_mean, video_processor.image_std)
    )
    return (values - mean) / std

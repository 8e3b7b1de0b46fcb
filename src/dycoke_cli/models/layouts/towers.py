"""Vision towers that can run a frame in part: each patch is a row to all their layers.

Towers with windows or with places that turn queries and keys would mix up rows that are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Tower:
    """Where the tower of a family is, and what its patches become.

    Args:
        name: of the tower in `model.model`.
        layers: of its transformer layers, by their name in the tower.
        pooled: called with `model.model` and rows `[1, P, D]`, one for each row of the tower's
            layers; returns, for each of N visual tokens of a frame, the sum or the mean of those
            that it is made of: `[1, N, D]`.
    """

    name: str
    layers: str
    pooled: Callable[[Any, torch.Tensor], torch.Tensor]


def as_they_are(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Video-LLaVA: each is a visual token, the class token among them."""
    return rows


def bilinear(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """LLaVA-OneVision: the patch grid, halved on each side, so that tokens share patches."""
    found: torch.Tensor = model.apply_pooling(_selected(model, rows))
    return found


def strided(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """LLaVA-NeXT-Video: squares of patches."""
    found: torch.Tensor = model.vision_resampler(_selected(model, rows))
    return found


def shuffled(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """InternVL: squares of patches, side by side as one row."""
    patches = _selected(model, rows)
    side = int(patches.shape[1] ** 0.5)
    grid = patches.view(1, side, side, -1)
    return _summed(model.pixel_shuffle(grid, scale_factor=model.config.downsample_ratio), rows)


def connected(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """SmolVLM: squares of patches, side by side as one row."""
    return _summed(model.connector.pixel_shuffle(rows, model.connector.scale_factor), rows)


def _selected(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Without the class token in front, where the model goes on without it."""
    return rows[:, 1:] if model.config.vision_feature_select_strategy == "default" else rows


def _summed(side_by_side: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return side_by_side.flatten(1, -2).unflatten(-1, (-1, rows.shape[-1])).sum(-2)

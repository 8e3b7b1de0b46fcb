"""Which tokens an attention ranks highest, and how many stay: one arithmetic for all methods."""

from __future__ import annotations

import torch


def tokens_left(tokens: int, ratio: float) -> int:
    """How many of `tokens` stay when that share goes: `int(tokens * (1 - ratio))`, in float64."""
    return int(tokens * (1 - ratio))


def top(attention: torch.Tensor, count: int) -> torch.Tensor:
    """The tokens with the highest attention; among equals the lower index is chosen.

    Args:
        attention: `[V]`, float.
        count: how many.

    Returns:
        `[count]`, int64, ascending.
    """
    return attention.argsort(descending=True, stable=True)[:count].sort().values

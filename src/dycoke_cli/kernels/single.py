"""Attention of one new token: the query heads that share keys are rows of one attention."""

from __future__ import annotations

import torch


def single_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """softmax(query · keyᵀ · scaling + mask) · value of one query a sequence.

    SDPA's own way for heads that share keys (`enable_gqa`) reads the keys once for each query head;
    this reads them once.

    Args:
        query: `[B, Hq, 1, D]`.
        key: `[B, Hk, S, D]`, Hq a multiple of Hk.
        value: `[B, Hk, S, E]`.
        scaling: of the scores.
        mask: `[B, 1, 1, S]`, bool or added; None where every key is seen.

    Returns:
        `[B, 1, Hq, E]`.
    """
    batch, heads, _, width = query.shape
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], width)
    found = torch.nn.functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=mask, scale=scaling
    )
    return found.reshape(batch, 1, heads, value.shape[3])

"""Attention within a frame, where every token sees every other.

Vision towers hand out strided heads of an odd size (72 in SigLIP so400m), for which SDPA on
AMD EPYC takes twice as long as plain matrix products on a few heads at a time (`models/cpu.py` says
where it doesn't).
"""

from __future__ import annotations

import torch

# Scores of the heads that go together at most, so that they stay in the cache.
MOST_SCORES = 2 * 1024 * 1024
# Sizes of a head that fill the processor's registers: SDPA is fast on those.
REGISTER = 32


def odd_heads(query: torch.Tensor) -> bool:
    """Whether the heads of `[B, H, N, D]` have a size that SDPA is slow for."""
    return query.shape[3] % REGISTER != 0


def frame_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """softmax(query · keyᵀ · scaling) · value.

    Args:
        query: `[B, H, N, D]`.
        key: `[B, H, S, D]`.
        value: `[B, H, S, E]`.
        scaling: of the scores.

    Returns:
        `[B, N, H, E]`.
    """
    batch, heads, length, _ = query.shape
    found = query.new_empty(batch, length, heads, value.shape[3])
    together = min(heads, max(1, MOST_SCORES // (length * key.shape[2])))
    # Memory that is used again and again stays in the cache, and mapped.
    scratch = query.new_empty(together, length, key.shape[2])
    for b in range(batch):
        for begin in range(0, heads, together):
            some = slice(begin, begin + together)
            scores = scratch[: heads - begin]
            torch.bmm(query[b, some] * scaling, key[b, some].mT, out=scores)
            torch.softmax(scores, -1, out=scores)
            found[b, :, some] = torch.bmm(scores, value[b, some]).transpose(0, 1)
    return found

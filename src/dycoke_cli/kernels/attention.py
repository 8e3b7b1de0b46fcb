"""Exact attention on CPUs (up to rounding) in three shapes: causal, single-token, bidirectional.

Causal attention processes blocks of queries. Query heads that share keys become the rows of one
matrix product, scores after the block's last query aren't computed, and the scores of a block stay
in the CPU cache. Stock SDPA on a CPU processes one head at a time, which is slower on AMD EPYC (but
not with AMX: `choice.py`).

Vision towers have strided heads of an odd size (72 in SigLIP so400m). For these, SDPA on AMD EPYC
takes twice as long as plain matrix products over a few heads at a time.
"""

from __future__ import annotations

import torch

# Maximum scores (rows times keys) of a block: 8 MB in bfloat16.
MAX_CAUSAL_SCORES = 4 * 1024 * 1024
MIN_QUERIES, MAX_QUERIES = 32, 256
# Maximum scores of the heads that are computed together, so that they stay in the CPU cache.
MAX_BIDIRECTIONAL_SCORES = 2 * 1024 * 1024
# SDPA is fast for head sizes that are multiples of this: they fill vector registers.
REGISTER = 32


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Causal attention: softmax(query · keyᵀ · scaling) · value over earlier and own keys.

    Args:
        query: `[B, Hq, N, D]`, of the last N of S tokens.
        key: `[B, Hk, S, D]`, Hq a multiple of Hk: the query heads `i·Hq/Hk …` share key head i.
        value: `[B, Hk, S, E]`.
        scaling: of the scores.

    Returns:
        `[B, N, Hq, E]`, as attention functions of transformers do.
    """
    batch, heads, length, _ = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    group, before = heads // kv_heads, keys - length
    output = query.new_empty(batch, length, heads, value.shape[3])
    grouped = (query * scaling).unflatten(1, (kv_heads, group))
    block = query_block(group, keys)
    # Reused buffers stay in the CPU cache, and their pages stay mapped.
    scratch = query.new_empty(group * block * keys)
    block_queries = query.new_empty(group * block, query.shape[3])
    block_output = query.new_empty(group * block, value.shape[3])
    later = torch.ones(block, block, dtype=torch.bool, device=query.device).triu(1)
    for b in range(batch):
        for h in range(kv_heads):
            for begin in range(0, length, block):
                end = min(begin + block, length)
                # Queries begin … end attend to keys 0 … last. Example: S = 10, N = 6 (4 cached) and
                # blocks of 4: the first block computes 4 x 8 scores, the second 2 x 10.
                count, last = end - begin, before + end
                rows = block_queries[: group * count]
                rows.unflatten(0, (group, count)).copy_(grouped[b, h, :, begin:end])
                scores = scratch[: len(rows) * last].view(len(rows), last)
                torch.mm(rows, key[b, h, :last].mT, out=scores)
                # All but the last `count` columns are visible to every query of the block, so only
                # that square on the diagonal needs a mask.
                diagonal = scores.view(group, count, last)[..., last - count :]
                diagonal.masked_fill_(later[:count, :count], float("-inf"))
                torch.softmax(scores, -1, out=scores)
                torch.mm(scores, value[b, h, :last], out=block_output[: len(rows)])
                place = output[b, begin:end, h * group : (h + 1) * group]
                place.copy_(block_output[: len(rows)].unflatten(0, (group, count)).transpose(0, 1))
    return output


def query_block(group: int, keys: int) -> int:
    """Queries per block: a power of two, so that products have few distinct shapes."""
    block = MAX_QUERIES
    while block > MIN_QUERIES and group * block * keys > MAX_CAUSAL_SCORES:
        block //= 2
    return block


def decode_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Single-token attention: softmax(query · keyᵀ · scaling + mask) · value, one query each.

    SDPA with `enable_gqa` reads the keys once per query head. Here the query heads that share keys
    are the rows of one attention, so that the keys are read once.

    Args:
        query: `[B, Hq, 1, D]`.
        key: `[B, Hk, S, D]`, Hq a multiple of Hk.
        value: `[B, Hk, S, E]`.
        scaling: of the scores.
        mask: `[B, 1, 1, S]`, bool or additive; None to attend to every key.

    Returns:
        `[B, 1, Hq, E]`.
    """
    batch, heads, _, width = query.shape
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], width)
    output = torch.nn.functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=mask, scale=scaling
    )
    return output.reshape(batch, 1, heads, value.shape[3])


def odd_heads(query: torch.Tensor) -> bool:
    """Whether SDPA is slow for the head size of `[B, H, N, D]`."""
    return query.shape[3] % REGISTER != 0


def bidirectional_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Bidirectional attention: softmax(query · keyᵀ · scaling) · value over all keys.

    Args:
        query: `[B, H, N, D]`.
        key: `[B, H, S, D]`.
        value: `[B, H, S, E]`.
        scaling: of the scores.

    Returns:
        `[B, N, H, E]`.
    """
    batch, heads, length, _ = query.shape
    output = query.new_empty(batch, length, heads, value.shape[3])
    per_block = min(heads, max(1, MAX_BIDIRECTIONAL_SCORES // (length * key.shape[2])))
    # The buffer is reused for the reasons given in `causal_attention`.
    scratch = query.new_empty(per_block, length, key.shape[2])
    for b in range(batch):
        for begin in range(0, heads, per_block):
            block = slice(begin, begin + per_block)
            scores = scratch[: heads - begin]
            torch.bmm(query[b, block] * scaling, key[b, block].mT, out=scores)
            torch.softmax(scores, -1, out=scores)
            output[b, :, block] = torch.bmm(scores, value[b, block]).transpose(0, 1)
    return output

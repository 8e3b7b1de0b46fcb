"""Attention on CPUs in three shapes, exact but for rounding: causal, one new token, bidirectional.

Causal attention takes a block of queries at a time. Stock SDPA on a CPU goes through the heads one
by one, which on AMD EPYC takes longer (with AMX it doesn't: `choice.py`). Here the query heads that
share keys are the rows of one matrix product, no score is computed behind the block's last query,
and the scores of a block stay in the CPU cache.

Vision towers hand out strided heads of an odd size (72 in SigLIP so400m), for which SDPA on AMD
EPYC takes twice as long as plain matrix products on a few heads at a time.
"""

from __future__ import annotations

import torch

# Scores of one block (rows times keys) at most: 8 MB in bfloat16.
MAX_CAUSAL_SCORES = 4 * 1024 * 1024
MIN_QUERIES, MAX_QUERIES = 32, 256
# Scores of the heads that are computed together at most, so that they stay in the CPU cache.
MAX_BIDIRECTIONAL_SCORES = 2 * 1024 * 1024
# Head sizes that SDPA is fast on are multiples of this: they fill vector registers.
REGISTER = 32


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """softmax(query · keyᵀ · scaling) · value, where a query attends to no later key.

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
    # Buffers that are used again stay in the cache, and mapped.
    scratch = query.new_empty(group * block * keys)
    block_queries = query.new_empty(group * block, query.shape[3])
    block_output = query.new_empty(group * block, value.shape[3])
    later = torch.ones(block, block, dtype=torch.bool, device=query.device).triu(1)
    for b in range(batch):
        for h in range(kv_heads):
            for begin in range(0, length, block):
                end = min(begin + block, length)
                count, last = end - begin, before + end
                rows = block_queries[: group * count]
                rows.unflatten(0, (group, count)).copy_(grouped[b, h, :, begin:end])
                scores = scratch[: len(rows) * last].view(len(rows), last)
                torch.mm(rows, key[b, h, :last].mT, out=scores)
                diagonal = scores.view(group, count, last)[..., last - count :]
                diagonal.masked_fill_(later[:count, :count], float("-inf"))
                torch.softmax(scores, -1, out=scores)
                torch.mm(scores, value[b, h, :last], out=block_output[: len(rows)])
                place = output[b, begin:end, h * group : (h + 1) * group]
                place.copy_(block_output[: len(rows)].unflatten(0, (group, count)).transpose(0, 1))
    return output


def query_block(group: int, keys: int) -> int:
    """Queries per block: a power of two, so that few shapes of products occur."""
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
    """softmax(query · keyᵀ · scaling + mask) · value, of one query per sequence.

    SDPA with `enable_gqa` reads the keys once for each query head; with the query heads that share
    keys as rows of one attention, they are read once.

    Args:
        query: `[B, Hq, 1, D]`.
        key: `[B, Hk, S, D]`, Hq a multiple of Hk.
        value: `[B, Hk, S, E]`.
        scaling: of the scores.
        mask: `[B, 1, 1, S]`, bool or added; None to attend to every key.

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
    """Whether the heads of `[B, H, N, D]` have a size that SDPA is slow for."""
    return query.shape[3] % REGISTER != 0


def bidirectional_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """softmax(query · keyᵀ · scaling) · value, where every query attends to every key.

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
    together = min(heads, max(1, MAX_BIDIRECTIONAL_SCORES // (length * key.shape[2])))
    # Buffers that are used again stay in the cache, and mapped.
    scratch = query.new_empty(together, length, key.shape[2])
    for b in range(batch):
        for begin in range(0, heads, together):
            some = slice(begin, begin + together)
            scores = scratch[: heads - begin]
            torch.bmm(query[b, some] * scaling, key[b, some].mT, out=scores)
            torch.softmax(scores, -1, out=scores)
            output[b, :, some] = torch.bmm(scores, value[b, some]).transpose(0, 1)
    return output

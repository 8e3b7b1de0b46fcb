"""Causal attention of a prompt, a block of queries at a time.

Stock SDPA on a CPU goes through the heads one by one, which on AMD EPYC takes longer (with AMX it
doesn't: `models/cpu.py`). Here the query heads that share keys are the
rows of one matrix product, no score is computed behind the block's last query, and the scores of a
block stay in the cache of the processor.
"""

from __future__ import annotations

import torch

# Scores of one block (rows times keys) at most: 8 MB in bfloat16.
MOST_SCORES = 4 * 1024 * 1024
FEWEST_QUERIES, MOST_QUERIES = 32, 256


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """softmax(query · keyᵀ · scaling) · value, where a query sees no later key.

    Args:
        query: `[B, Hq, N, D]`, of the last N of S tokens.
        key: `[B, Hk, S, D]`, Hq a multiple of Hk: the query heads `i·Hq/Hk …` share key head i.
        value: `[B, Hk, S, E]`.
        scaling: of the scores.

    Returns:
        `[B, N, Hq, E]`, as attention functions of transformers do.
    """
    batch, heads, length, _ = query.shape
    shared, keys = key.shape[1], key.shape[2]
    group, before = heads // shared, keys - length
    found = query.new_empty(batch, length, heads, value.shape[3])
    grouped = (query * scaling).unflatten(1, (shared, group))
    block = queries_at_once(group, keys)
    # Memory that is used again and again stays in the cache, and mapped.
    scratch = query.new_empty(group * block * keys)
    asked = query.new_empty(group * block, query.shape[3])
    read = query.new_empty(group * block, value.shape[3])
    later = torch.ones(block, block, dtype=torch.bool, device=query.device).triu(1)
    for b in range(batch):
        for h in range(shared):
            for begin in range(0, length, block):
                end = min(begin + block, length)
                count, last = end - begin, before + end
                rows = asked[: group * count]
                rows.unflatten(0, (group, count)).copy_(grouped[b, h, :, begin:end])
                scores = scratch[: len(rows) * last].view(len(rows), last)
                torch.mm(rows, key[b, h, :last].mT, out=scores)
                diagonal = scores.view(group, count, last)[..., last - count :]
                diagonal.masked_fill_(later[:count, :count], float("-inf"))
                torch.softmax(scores, -1, out=scores)
                torch.mm(scores, value[b, h, :last], out=read[: len(rows)])
                place = found[b, begin:end, h * group : (h + 1) * group]
                place.copy_(read[: len(rows)].unflatten(0, (group, count)).transpose(0, 1))
    return found


def queries_at_once(group: int, keys: int) -> int:
    """How many queries make a block: a power of two, so that few shapes of products occur."""
    block = MOST_QUERIES
    while block > FEWEST_QUERIES and group * block * keys > MOST_SCORES:
        block //= 2
    return block

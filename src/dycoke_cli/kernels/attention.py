"""Exact attention on CPUs (up to rounding) in three shapes, and its registration in transformers.

Causal attention processes blocks of queries. Query heads that share keys become the rows of one
matrix product, scores after the block's last query aren't computed, and the scores of a block stay
in the CPU cache. Stock SDPA on a CPU processes one head at a time, which is slower on AMD EPYC (but
not with AMX: `replacing.py`).

Vision towers have strided heads of an odd size (72 in SigLIP so400m). For these, SDPA on AMD EPYC
takes twice as long as plain matrix products over a few heads at a time.
"""

from __future__ import annotations

from collections.abc import Set
from functools import partial
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

from dycoke_cli.stock.forward import SDPA

# Maximum scores (rows times keys) of a block: 8 MB in bfloat16.
MAX_CAUSAL_SCORES = 4 * 1024 * 1024  # equivalent: speed alone
MIN_QUERIES, MAX_QUERIES = 32, 256  # equivalent: speed alone
# Maximum scores of the heads that are computed together, so that they stay in the CPU cache.
MAX_BIDIRECTIONAL_SCORES = 2 * 1024 * 1024  # equivalent: speed alone
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


# Registration of custom attention in the public attention registry of transformers.
#
# The registry maps a name to one function for all layers of a model. Which shapes are faster
# depends on the processor, so there is a name for each choice of `replacing.py`.


CAUSAL, DECODE, BIDIRECTIONAL = "causal", "decode", "bidirectional"
NAME = "dycoke_kernels"
"""Registered name of custom attention in all shapes."""
DECODE_ONLY = f"{NAME}_decode"
"""Registered name of custom attention of single tokens, with SDPA in all other shapes."""
ON_GPU = f"{NAME}_stock"
"""Registered name of SDPA in all shapes, with a mask only where a prompt is padded."""
_CUSTOM = {
    NAME: frozenset({CAUSAL, DECODE, BIDIRECTIONAL}),
    DECODE_ONLY: frozenset({DECODE}),
    ON_GPU: frozenset[str](),
}


def computes_sdpa(name: str) -> bool:
    """Whether an attention function is SDPA or one of ours, which compute the plain softmax."""
    return name == SDPA or NAME in name


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    dropout: float = 0.0,
    custom: Set[str] = _CUSTOM[NAME],
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers: custom where a shape matches, else stock SDPA.

    Args:
        module: an attention layer.
        query: `[B, Hq, N, D]`.
        key: `[B, Hk, S, D]`.
        value: `[B, Hk, S, E]`.
        attention_mask: `[B, 1, N, S]`, or None: then a causal layer's queries are the last N of S
            tokens (`mask` below omits the mask then).
        scaling: of the scores; None for 1/√D.
        is_causal: None reads it from the layer.
        dropout: of training.
        custom: custom shapes.

    Returns:
        `[B, N, Hq, E]`, and None for the attention weights.
    """
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    # The custom kernels have no backward pass and no variants of the softmax.
    plain = not dropout and not torch.is_grad_enabled()
    plain &= all(kwargs.get(name) is None for name in ("softcap", "position_bias", "cache"))
    # A mask per head doesn't fit `decode_attention`, which folds heads into rows.
    one = query.shape[2] == 1 and (attention_mask is None or attention_mask.shape[1] == 1)
    if plain and one and DECODE in custom:
        return decode_attention(query, key, value, scale, attention_mask), None
    if plain and attention_mask is None and causal and not one and CAUSAL in custom:
        return causal_attention(query, key, value, scale), None
    same_heads = query.shape[1] == key.shape[1]
    unmasked = attention_mask is None and not causal and same_heads and odd_heads(query)
    if plain and unmasked and BIDIRECTIONAL in custom:
        return bidirectional_attention(query, key, value, scale), None
    if attention_mask is None and causal and 1 < query.shape[2] < key.shape[2]:
        # Without a mask, stock SDPA aligns the causal triangle with the first N of the S keys; here
        # the queries are the last N (chunked prefill, a cached prefix).
        attention_mask = _behind_others(query, key, kwargs.get("position_bias") is not None)
    # Not that of the registry, which may be one of ours around it (`stock/forward.py`).
    attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask,
        dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs,
    )  # fmt: skip
    return attended


def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    kv_offset: int = 0,
    mask_function: Any = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """Mask of stock SDPA; None as well if the queries are the last tokens and purely causal.

    Omitting it saves `[N, S]` numbers, and `attention` above chooses the custom kernel by it.
    """
    last = isinstance(q_offset, int) and q_offset + q_length == kv_offset + kv_length
    unpadded = attention_mask is None or bool(attention_mask.all())
    if mask_function is causal_mask_function and local_size is None and last and unpadded:
        return None
    if q_length > 1:
        # Stock code omits the mask if queries start at key 0, too. `attention` would take them for
        # the last keys, but in a static cache, which has free slots at the end, they are the first.
        kwargs["allow_is_causal_skip"] = False
    return sdpa_mask(
        batch_size, q_length, kv_length, q_offset, kv_offset, mask_function, attention_mask,
        local_size, **kwargs,
    )  # fmt: skip


def _behind_others(query: torch.Tensor, key: torch.Tensor, biased: bool) -> torch.Tensor:
    """The mask of queries `[B, H, N, D]` that are the last N of keys `[B, H, S, D]`.

    Args:
        biased: whether it is added to a bias by position.
    """
    length, keys = query.shape[2], key.shape[2]
    if not biased and has_flash_attention(query.device, query.dtype):
        # FlashAttention has this mask built in: nothing of `[N, S]` is in memory.
        return last_queries(length, keys)
    return causal_mask(length, keys, query.device)


def has_flash_attention(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether SDPA in a dtype is FlashAttention on a device, without scores `[N, S]` in memory.

    Elsewhere torch may compute them, and aligns a causal mask with the first keys (ROCm).
    """
    if device.type != "cuda" or torch.version.hip is not None or dtype.itemsize != 2:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def last_queries(length: int, keys: int) -> torch.Tensor:
    """The mask of the last `length` of `keys` tokens, as SDPA knows it without its numbers."""
    bias = causal_lower_right(1, 1)  # equivalent: any sizes, which torch would allocate
    bias.seq_len_q, bias.seq_len_kv = length, keys
    return bias


def causal_mask(length: int, keys: int, device: torch.device) -> torch.Tensor:
    """Causal mask for the last `length` of `keys` tokens: `[1, 1, length, keys]`, bool."""
    attended = torch.ones(length, keys, dtype=torch.bool, device=device)
    return attended.tril(keys - length)[None, None]


for name, custom in _CUSTOM.items():
    AttentionInterface.register(name, partial(attention, custom=custom))
    AttentionMaskInterface.register(name, mask)

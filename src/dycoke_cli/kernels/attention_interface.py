"""Registration of custom attention in the public attention registry of transformers.

The registry maps a name to one function for all layers of a model. Which shapes are faster depends
on the processor, so each combination of custom shapes is registered under its own name.
"""

from __future__ import annotations

from collections.abc import Set
from functools import partial
from itertools import combinations
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

from dycoke_cli.kernels.attention import (
    bidirectional_attention,
    causal_attention,
    decode_attention,
    odd_heads,
)
from dycoke_cli.stock.attention import SDPA

CAUSAL, DECODE, BIDIRECTIONAL = SHAPES = ("causal", "decode", "bidirectional")
NAME = "dycoke_kernels"
"""Registered name of custom attention in all shapes."""


def name_of(custom: Set[str]) -> str:
    """Registered name for a set of custom shapes; all others run stock SDPA.

    It ends with `NAME` if causal attention is custom, which the engine tests for.

    Args:
        custom: custom shapes, of `SHAPES`.
    """
    stock = "_".join(["stock", *(shape for shape in SHAPES if shape not in custom)])
    if not custom:
        return SDPA
    if len(custom) == len(SHAPES):
        return NAME
    return f"{stock}_{NAME}" if CAUSAL in custom else f"{NAME}_{stock}"


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
    custom: Set[str] = frozenset(SHAPES),
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
        attention_mask = causal_mask(query.shape[2], key.shape[2], query.device)
    # Not that of the registry, which may be one of ours around it (`stock/attention.py`).
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


def causal_mask(length: int, keys: int, device: torch.device) -> torch.Tensor:
    """Causal mask for the last `length` of `keys` tokens: `[1, 1, length, keys]`, bool."""
    attended = torch.ones(length, keys, dtype=torch.bool, device=device)
    return attended.tril(keys - length)[None, None]


for count in range(1, len(SHAPES) + 1):
    for shapes in combinations(SHAPES, count):
        AttentionInterface.register(
            name_of({*shapes}), partial(attention, custom=frozenset(shapes))
        )
        AttentionMaskInterface.register(name_of({*shapes}), mask)

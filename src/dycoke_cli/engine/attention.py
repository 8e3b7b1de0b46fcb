"""Attention functions that score visual tokens at one layer and otherwise step aside.

Registered with `AttentionInterface` beside each stock implementation, under its own name with a
prefix. The store of a call arrives as a keyword argument, so a call that has none (another thread
on the same model) runs the stock function unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dycoke_cli.engine.kv_store import KVStore

PREFIX = "dycoke_"
STORE_ARGUMENT = "dycoke_store"


def scoring_name(implementation: str) -> str:
    """Register the scoring twin of a stock implementation, and return its name.

    Eager attention isn't in the registry (each modelling file has its own); SDPA, which computes
    the same, takes its place.
    """
    name = PREFIX + implementation
    if name not in ALL_ATTENTION_FUNCTIONS:
        stock = "sdpa" if implementation == "eager" else implementation
        AttentionInterface.register(name, _scoring(ALL_ATTENTION_FUNCTIONS[stock]))
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[stock])
    return name


def _scoring(stock: Callable[..., Any]) -> Callable[..., Any]:
    def attention(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> Any:
        store: KVStore | None = kwargs.pop(STORE_ARGUMENT, None)
        if store is not None:
            if query.shape[2] == 1:
                # One sequence without padding: a single query sees every key that is handed to
                # it, and a mask made for layer 0 has the wrong length for a pruned layer.
                attention_mask = None
            if store.scores_at(module.layer_idx):
                # The last query of a prompt sees every key, too.
                weights = attention_to_keys(query[:, :, -1:], key, kwargs["scaling"])
                store.choose(weights[store.visual.start : store.visual.stop])
        return stock(module, query, key, value, attention_mask, **kwargs)

    return attention


def attention_to_keys(query: torch.Tensor, key: torch.Tensor, scaling: float) -> torch.Tensor:
    """The attention of one query to all keys, averaged over heads: one q·K, no values.

    Args:
        query: `[1, Hq, 1, D]`.
        key: `[1, Hk, S, D]`, Hq a multiple of Hk.
        scaling: of the logits.

    Returns:
        `[S]`, float32; sums to 1.
    """
    heads, width = key.shape[1], key.shape[3]
    grouped = query.view(heads, -1, width)
    logits = torch.matmul(grouped, key[0].transpose(1, 2)) * scaling
    return logits.softmax(dim=-1, dtype=torch.float32).flatten(0, 1).mean(dim=0)

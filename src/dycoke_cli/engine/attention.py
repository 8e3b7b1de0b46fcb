"""Attention functions that score visual tokens at one layer and otherwise step aside.

Registered with `AttentionInterface` beside each stock implementation, under its own name with a
prefix. What is known of a call arrives as a keyword argument, so a call that has none (another
thread on the same model) runs the stock function unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dycoke_cli.engine.call import CALL_ARGUMENT, Call
from dycoke_cli.engine.twins import twin

PREFIX = "dycoke_"


def scoring_name(implementation: str) -> str:
    """Register the scoring twin of a stock implementation, and return its name."""
    return twin(PREFIX, implementation, _scoring)


def _scoring(stock: Callable[..., Any], name: str) -> Callable[..., Any]:
    def attention(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> Any:
        call: Call | None = kwargs.pop(CALL_ARGUMENT, None)
        if call is not None:
            if call.store is not None and not call.reading_prompt:
                # A mask made for layer 0 has the wrong length for a pruned layer.
                attention_mask = call.store.mask(module.layer_idx, key)
                if attention_mask is not None and "flash" not in name:
                    attention_mask = attention_mask[:, None, None]
            if call.scores_at(module.layer_idx):
                # The last query of a prompt sees every key, too.
                last = query[:, :, -1:]
                call.choose(
                    [
                        attention_to_keys(
                            last[i : i + 1], key[i : i + 1, :, row.padding :], kwargs["scaling"]
                        )
                        for i, row in enumerate(call.rows)
                    ]
                )
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
    grouped = query.reshape(heads, -1, width)
    logits = torch.matmul(grouped, key[0].transpose(1, 2)) * scaling
    return logits.softmax(dim=-1, dtype=torch.float32).flatten(0, 1).mean(dim=0)

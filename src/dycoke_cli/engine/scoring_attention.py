"""Custom attention functions around stock ones, and when a model runs with them.

Each is registered with `AttentionInterface` under the stock name with a prefix. The function of
attached methods scores visual tokens at one layer and calls the stock function at all others. The
state of a call arrives as a keyword argument, so a call without one (another thread on the same
model) runs the stock function unchanged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dycoke_cli.engine.call import CALL_ARGUMENT, Call
from dycoke_cli.kernels.attention_interface import causal_mask
from dycoke_cli.stock.private_api import attention_implementation, has_stock_forward

Attention = Callable[..., Any]
# In front of the stock name, so that code that looks for "flash" or "flex" in the name finds it.
PREFIX = "dycoke_"


def register_attention(
    prefix: str, implementation: str, make: Callable[[Attention, str], Attention]
) -> str:
    """Register a custom attention function around a stock one, with its mask; return its name.

    Eager attention isn't in the registry (each modelling file has its own); SDPA, which computes
    the same, takes its place.

    Args:
        prefix: of the name.
        implementation: the stock one.
        make: from the stock function and its name to ours.
    """
    name = prefix + implementation
    if name not in ALL_ATTENTION_FUNCTIONS:
        stock = "sdpa" if implementation == "eager" else implementation
        AttentionInterface.register(name, make(ALL_ATTENTION_FUNCTIONS[stock], stock))
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[stock])
    return name


def scoring_attention(implementation: str) -> str:
    """Register the scoring function around a stock implementation, and return its name."""
    return register_attention(PREFIX, implementation, _scoring)


class AttentionSwitch:
    """Sets the attention of a decoder or a vision tower to a custom one while it is in use.

    Attachments of several threads can overlap, so the last one to leave switches back.

    Args:
        register: registers ours around a stock implementation, and returns its name.
        forward: makes a custom forward that takes the place of a module's own as well; None to
            leave that. One that was replaced already stays.
    """

    def __init__(
        self, register: Callable[[str], str], forward: Callable[[Any], Any] | None = None
    ) -> None:
        self._register, self._forward = register, forward
        self._lock = threading.Lock()
        self._attached: WeakKeyDictionary[Any, _Attached] = WeakKeyDictionary()

    def enter(self, decoder: Any) -> None:
        """Count one more user, for a text decoder or a vision tower."""
        with self._lock:
            attached = self._attached.get(decoder)
            # The first user switches, within the lock: a second thread must not run before that.
            if attached is None:
                stock = attention_implementation(decoder)
                attached = self._attached[decoder] = _Attached(stock)
                decoder.set_attn_implementation(self._register(stock))
                if self._forward is not None and has_stock_forward(decoder):
                    attached.has_our_forward = True
                    decoder.forward = self._forward(decoder)
            attached.count += 1

    def leave(self, decoder: Any) -> None:
        """Count one less."""
        with self._lock:
            attached = self._attached[decoder]
            attached.count -= 1
            if attached.count == 0:
                del self._attached[decoder]
                decoder.set_attn_implementation(attached.stock)
                if attached.has_our_forward:
                    del decoder.forward


@dataclass
class _Attached:
    """The attention that a decoder or a vision tower had before, and the users of ours."""

    stock: str
    count: int = 0
    has_our_forward: bool = False


def _scoring(stock: Attention, name: str) -> Attention:
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
            # A partial: attention is computed only if the recorder wants this layer's.
            call.record(
                module.layer_idx,
                key.shape[2],
                partial(attention_to_keys, query[:1, :, -1:], key[:1], kwargs["scaling"]),
            )
            if call.store is not None and not call.in_prefill:
                # A mask made for layer 0 has the wrong length for a pruned layer. Keys may change,
                # too: a layer that selects for itself does so now that its query is known.
                key, value, attention_mask = call.store.attended(
                    module.layer_idx, query, key, value, kwargs["scaling"]
                )
                if call.tree is not None:
                    attention_mask = call.tree.mask(attention_mask, key)
                elif attention_mask is not None and "flash" not in name:
                    attention_mask = attention_mask[:, None, None]
                call.record_selected(module.layer_idx)
            # Behind `attended`: what is added belongs to the keys that the layer attends to.
            bias = call.bias_of(module.layer_idx, key.shape[2])
            if bias is not None:
                attention_mask = _biased(attention_mask, bias, query)
            # One product more than the stock function, whose weights (of SDPA and flash) are never
            # in memory: of one query, so it costs little.
            if call.scores_at(module.layer_idx):
                # The last query of a prompt sees every key, too.
                last = query[:, :, -1:]
                call.select(
                    [
                        attention_to_keys(
                            last[i : i + 1],
                            key[i : i + 1, :, sequence.padding :],
                            kwargs["scaling"],
                        )
                        for i, sequence in enumerate(call.sequences)
                    ]
                )
        # FlashAttention takes no mask of a tree, and FlexAttention would compile one.
        attend = stock if call is None or call.tree is None else ALL_ATTENTION_FUNCTIONS["sdpa"]
        return attend(module, query, key, value, attention_mask, **kwargs)

    return attention


def _biased(mask: torch.Tensor | None, bias: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """An attention mask and what is added to the logits of keys, as one mask that is added.

    Args:
        mask: `[B, 1, N, K]`, bool or added; None where queries are the last N of K tokens, and
            attention is just causal.
        bias: of `Call.bias_of`.
        query: `[B, Hq, N, D]`.

    Returns:
        `[B, 1 or Hq, N, K]`, in the query's dtype.
    """
    bias = bias.to(query)
    if bias.shape[1] > 1:  # of KV heads
        bias = bias.repeat_interleave(query.shape[1] // bias.shape[1], 1)
    if mask is None:
        mask = causal_mask(query.shape[2], bias.shape[3], query.device)
    if mask.dtype != torch.bool:
        return mask + bias
    # Padding attends to nothing, and must be a number all the same.
    return torch.where(mask, bias, torch.finfo(query.dtype).min)


def attention_to_keys(
    query: torch.Tensor, key: torch.Tensor, scaling: float, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The attention of one query to all keys, averaged over heads: one q·K, no values.

    Args:
        query: `[1, Hq, 1, D]`.
        key: `[1, Hk, S, D]`, Hq a multiple of Hk.
        scaling: of the logits.
        bias: `[S]`, float: added to them; None for nothing.

    Returns:
        `[S]`, float32; sums to 1.
    """
    # Query heads of one KV head follow each other, so a reshape groups them; keys aren't repeated.
    heads, width = key.shape[1], key.shape[3]
    grouped = query.reshape(heads, -1, width)
    logits = torch.matmul(grouped, key[0].transpose(1, 2)) * scaling
    if bias is not None:
        logits = logits + bias.to(logits)
    return logits.softmax(dim=-1, dtype=torch.float32).flatten(0, 1).mean(dim=0)

"""The attention function of attached methods, and when a decoder or a vision tower runs with it.

It scores visual tokens at one layer and calls the stock function at all others. The state of a call
arrives as a keyword argument, so a call without one (another thread, another model) runs the stock
function unchanged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

from dycoke_cli.engine.generation_state import STATE_ARGUMENT, GenerationState
from dycoke_cli.kernels.attention import causal_mask, computes_sdpa
from dycoke_cli.stock.attention import Attention, WrappedAttention, Wrapper, own_eager
from dycoke_cli.stock.private_api import has_stock_forward


class AttentionSwitch:
    """Puts a custom attention function around that of a decoder or a vision tower while in use.

    Attachments of several threads can overlap, so the last one to leave restores the stock one.

    Args:
        forward: makes a custom forward that takes the place of a module's own as well; None to
            leave that. One that was replaced already stays.
    """

    def __init__(self, wrapper: Wrapper, forward: Callable[[Any], Any] | None = None) -> None:
        self._wrapper, self._forward = wrapper, forward
        self._lock = threading.Lock()
        self._attached: WeakKeyDictionary[Any, _Attached] = WeakKeyDictionary()

    def enter(self, decoder: Any) -> None:
        """Count one more user, for a text decoder or a vision tower."""
        with self._lock:
            attached = self._attached.get(decoder)
            # The first user switches, within the lock: a second thread must not run before that.
            if attached is None:
                wrapped = WrappedAttention(decoder, self._wrapper)
                attached = self._attached[decoder] = _Attached(wrapped)
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
                attached.attention.remove()
                if attached.has_our_forward:
                    del decoder.forward


@dataclass
class _Attached:
    """The custom attention of a decoder or a vision tower, and its users."""

    attention: WrappedAttention
    count: int = 0
    has_our_forward: bool = False


def scoring_attention(stock: Attention, name: str) -> Attention:
    """The attention function of attached methods, around a stock one."""
    is_sdpa = computes_sdpa(name)

    def attention(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> Any:
        state: GenerationState | None = kwargs.pop(STATE_ARGUMENT, None)
        if state is None:
            return stock(module, query, key, value, attention_mask, **kwargs)
        # Of SDPA one product more than the stock function, whose weights are never in memory: of
        # one query, so it costs little.
        weights = (
            partial(attention_to_keys, scaling=kwargs["scaling"])
            if is_sdpa and kwargs.get("position_bias") is None
            else partial(own_attention_to_keys, module, **kwargs)
        )
        bias = state.bias(key.shape[2])
        # A partial: attention is computed only if the recorder wants this layer's.
        of_first = None if bias is None else bias[0, 0, 0]
        recorded = partial(weights, query[:1, :, -1:], key[:1], of_first)
        state.records.attend(state, module.layer_idx, recorded)
        attend = stock
        if state.store is not None and not state.in_prefill:
            # A mask made for layer 0 has the wrong length for a pruned layer.
            attention_mask = state.store.mask(module.layer_idx, key)
            several = state.step.mask(attention_mask, key)
            if several is not None:
                attention_mask = several
                # FlashAttention takes no mask of a tree, and FlexAttention would compile one.
                attend = stock if is_sdpa else own_eager
            elif attention_mask is not None and "flash" not in name:
                attention_mask = attention_mask[:, None, None]
        if bias is not None or attend is own_eager:
            attention_mask = _added(attention_mask, bias, query, key.shape[2])
        if state.selection is not None and state.selection.scores_at(module.layer_idx):
            queries = state.selection.queries(module.layer_idx)
            among = state.selection.keys(module.layer_idx)
            keys = [
                key[i : i + 1, :, sequence.padding :]
                if among is None
                else key[i : i + 1, :, among.to(key.device)]
                for i, sequence in enumerate(state.sequences)
            ]
            state.select(
                module.layer_idx,
                [
                    mean_attention(weights, query[i : i + 1], own, queries)
                    for i, own in enumerate(keys)
                ],
            )
        return attend(module, query, key, value, attention_mask, **kwargs)

    return attention


def _added(
    mask: torch.Tensor | None, bias: torch.Tensor | None, query: torch.Tensor, keys: int
) -> torch.Tensor | None:
    """An attention mask and what is added to the logits of keys, as one mask that is added.

    Args:
        mask: `[B, 1, N, K]`, bool or added; None where queries are the last N of K tokens, and
            attention is just causal.
        bias: of `GenerationState.bias`; None for nothing.
        query: `[B, Hq, N, D]`.
        keys: K.

    Returns:
        `[B, 1, N, K]`, in the query's dtype; None for a single query that attends to all.
    """
    if mask is None and (bias is not None or query.shape[2] > 1):
        mask = causal_mask(query.shape[2], keys, query.device)
    if mask is None:
        return None
    added = query.new_zeros(()) if bias is None else bias.to(query)
    if mask.dtype != torch.bool:
        return mask + added
    # Padding attends to nothing, and must be a number all the same.
    return torch.where(mask, added, torch.finfo(query.dtype).min)


def mean_attention(
    weights: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    queries: torch.Tensor | None,
) -> torch.Tensor:
    """The mean attention of some queries to all keys, `[K]`, float32; each sees those up to itself.

    Args:
        weights: such as `attention_to_keys`.
        query: `[1, Hq, N, D]`: of N tokens, the last of which sees every key.
        key: `[1, Hk, K, D]`.
        queries: `[Q]`, int64: which of the N tokens, where N is K; None for the last one.
    """
    if queries is None:
        return weights(query[:, :, -1:], key)
    keys = key.shape[2]
    return torch.stack(
        [
            torch.nn.functional.pad(
                weights(query[:, :, number : number + 1], key[:, :, : number + 1]),
                (0, keys - number - 1),
            )
            for number in queries.tolist()
        ]
    ).mean(0)


def attention_to_keys(
    query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None = None, *, scaling: float
) -> torch.Tensor:
    """SDPA's attention of one query to all keys, averaged over heads: one q·K, no values.

    Args:
        query: `[1, Hq, 1, D]`.
        key: `[1, Hk, S, D]`, Hq a multiple of Hk.
        bias: `[S]`, float: added to the logits; None for nothing.
        scaling: of the logits.

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


def own_attention_to_keys(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """The attention of one query to all keys, averaged over heads, of a module that isn't SDPA's.

    By the eager function of its own file, so that a sink, a soft cap or a bias counts.

    Args:
        module: an attention layer.
        query, key, bias: as of `attention_to_keys`.
        kwargs: with which the module calls an attention function.

    Returns:
        `[S]`, float32 or wider; sums to 1, or to less if there are sinks.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    ones = key.new_ones(*key.shape[:3], 1, dtype=wide)
    mask = None if bias is None else bias.to(wide)[None, None, None]
    output, weights = own_eager(module, query.to(wide), key.to(wide), ones, mask, **kwargs)
    # Behind some sinks the output is scaled, and not the weights: of values of 1 it is their sum.
    sums = weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return (weights * (output.transpose(1, 2) / sums))[0, :, -1].mean(0)

"""Attention read off a stock model as it runs: of the text decoder, and of the vision tower.

The function of attached methods scores visual tokens at one layer, and calls the stock function at
all others. The state of a call arrives as a keyword argument, so a call without one (another
thread, another model) runs the stock function unchanged.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.engine.state import STATE_ARGUMENT, GenerationState
from dycoke_cli.errors import UsageError
from dycoke_cli.kernels.attention import causal_mask, computes_sdpa
from dycoke_cli.models.families import family_of
from dycoke_cli.stock.forward import Attention, WrappedAttention, own_eager


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


_here = threading.local()


@dataclass(frozen=True)
class TowerAttention:
    """The vision encoder's attention and keys of a video, as `SelectionInputs` has them."""

    attention: torch.Tensor  # `[F, N]`, float32: to each visual token
    keys: torch.Tensor  # `[F, N, K]`, float32: in the mean over heads

    def at(self, frames: Sequence[int]) -> TowerAttention:
        """That of some frames, in this order."""
        at = torch.tensor(frames).to(self.attention.device)
        return TowerAttention(self.attention[at], self.keys[at])

    @classmethod
    def cat(cls, parts: Sequence[TowerAttention]) -> TowerAttention:
        """That of frames that were encoded one after the other."""
        return cls(torch.cat([p.attention for p in parts]), torch.cat([p.keys for p in parts]))


def with_tower(inputs: SelectionInputs, tower: TowerAttention | None) -> SelectionInputs:
    """The inputs of a selection that needs the vision encoder's attention."""
    assert tower is not None, "encoded with it, for the method needs it"
    # Of a model spread over several devices, the vision encoder may be on another one.
    device = inputs.features.device
    return replace(inputs, attention=tower.attention.to(device), keys=tower.keys.to(device))


class TowerRecorder:
    """Within the block, notes the attention of the frames that this thread encodes."""

    def __init__(self, model: Any) -> None:
        tower = family_of(model.config).tower
        assert tower is not None, "checked before"
        self._model, self._family_tower = model, tower
        self._tower = model.model.get_submodule(tower.name)
        self._parts = set(tower.last_used(model).modules())
        self._weights: torch.Tensor | None = None
        self._recorded: list[TowerAttention] = []

    def __enter__(self) -> TowerRecorder:
        self._attention = WrappedAttention(self._tower, _recording)
        _here.recorders = [*_recorders(), self]
        return self

    def __exit__(self, *_: object) -> None:
        _here.recorders = [other for other in _recorders() if other is not self]
        self._attention.remove()

    def take(self) -> TowerAttention | None:
        """What was noted since the last time, frame by frame, or None where that is nothing."""
        recorded, self._recorded = self._recorded, []
        return TowerAttention.cat(recorded) if recorded else None

    def note(self, module: Any, query: torch.Tensor, key: torch.Tensor, scaling: float) -> None:
        """Note a layer that is about to attend, unless it is another one.

        Args:
            module: its attention.
            query: `[F, H, P, K]`.
            key: the same shape.
            scaling: of the logits.
        """
        # The switch is of the whole tower, so every layer comes by; one of them is recorded.
        if module not in self._parts:
            return
        if self._weights is None:
            # A token gets the mean of its patches, whatever the family's weights add up to.
            weights = self._family_tower.pooling(self._model, key.shape[2], key.device)
            self._weights = weights / weights.sum(-1, keepdim=True)
        # A class token stands before a square of patches.
        with_class_token = math.isqrt(key.shape[2]) ** 2 + 1 == key.shape[2]
        queries = query[:, :, :1] if with_class_token else query
        received = [
            torch.softmax(q.float() @ k.float().mT * scaling, dim=-1).mean((0, 1))
            for q, k in zip(queries, key, strict=True)  # whole, that would be gigabytes
        ]
        pool = self._weights.to(received[0])
        attention = torch.stack(received) @ pool.mT
        self._recorded.append(TowerAttention(attention, pool @ key.float().mean(1)))


def split_by_video(recorded: TowerAttention | None, frames: Sequence[int]) -> list[TowerAttention]:
    """The attention to each video of a batch."""
    recorded_frames = 0 if recorded is None else len(recorded.attention)
    if recorded is None or recorded_frames != sum(frames):
        raise UsageError(
            f"the videos of this prompt have {sum(frames)} frames, but the vision encoder ran on "
            f"{recorded_frames} pictures while the method was attached; a method that needs its "
            "attention takes one video a prompt, no pictures beside it, encoded within the `with` "
            "block"
        )
    attention, keys = (part.split(list(frames)) for part in (recorded.attention, recorded.keys))
    return [TowerAttention(*part) for part in zip(attention, keys, strict=True)]


def _recorders() -> list[TowerRecorder]:
    return getattr(_here, "recorders", [])


def _recording(stock: Attention, _: str) -> Attention:
    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        attention_mask: torch.Tensor | None, scaling: float, **kwargs: Any,
    ) -> Any:  # fmt: skip
        for recorder in _recorders():
            recorder.note(module, query, key, scaling)
        return stock(module, query, key, value, attention_mask, scaling=scaling, **kwargs)

    return attention

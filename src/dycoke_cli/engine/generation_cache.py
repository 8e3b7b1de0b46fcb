"""KV cache of shortened prompts, and KV pruning in decode.

A `KVStore` takes the place of the call's empty cache, unless there are layers that don't keep every
token: to those a shortened prompt is just a shorter one, in the stock cache. In the store a
decoding step attends to a selection of the visual tokens, which is made from the attention of the
layer before the first pruned one.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from dycoke_cli.engine.generation_state import STATE_ARGUMENT, GenerationState
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.stage import Prefill, Stage
from dycoke_cli.stock.private_api import cache_name, cache_of


class InStore(Stage):
    """The cache of a call is a `KVStore`, which makes the masks of its layers."""

    def after_selection(self, prefill: Prefill) -> None:
        """Put the store in the place of the cache."""
        state, pruning = prefill.state, prefill.pruning
        store = KVStore(
            layers=prefill.decoder.config.num_hidden_layers,
            paddings=[sequence.padding for sequence in state.sequences],
            visual=[sequence.visual for sequence in state.sequences],
            length=prefill.at.shape[1],
            uncompressed_length=prefill.prompts.stays.shape[1],
            first_pruned=pruning.layer if pruning else None,
            bias=_bias(prefill),
        )
        if pruning:
            state.step_selection = _StepSelection(scoring_layer=pruning.layer - 1)
        state.cache = weakref.ref(store)
        prefill.kwargs[cache_name(prefill.kwargs)] = store

    def before_step(self, state: GenerationState, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Begin a step of the store."""
        assert state.store is not None, "it was found by its cache"
        state.store.begin_step()
        # No mask: the store makes one for each layer, where any is needed, for layers before and
        # behind the prune layer hold different numbers of keys.
        return kwargs | {"attention_mask": None, STATE_ARGUMENT: state}


class InStockCache(Stage):
    """The cache of a call is the stock one."""

    def after_selection(self, prefill: Prefill) -> None:
        """See that there is one: the call is found again by it."""
        # generate() made one. A bare forward may come without.
        if cache_of(prefill.kwargs) is None:
            made = DynamicCache(config=prefill.decoder.config)
            prefill.kwargs[cache_name(prefill.kwargs)] = made

    def before_step(self, state: GenerationState, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The mask is that of the shortened prompts."""
        if state.keep is not None:  # the new token is no padding
            state.keep = torch.nn.functional.pad(state.keep, (0, 1), value=True)
        return kwargs | {"attention_mask": state.keep}


@dataclass(frozen=True)
class _StepSelection:
    """The selection of a decoding step; the layers behind follow it."""

    scoring_layer: int  # the last that attends to every token

    def scores_at(self, layer: int) -> bool:
        """See `LayerSelection`."""
        return layer == self.scoring_layer

    def keys(self, layer: int) -> None:
        """See `LayerSelection`: all."""

    def queries(self, layer: int) -> None:
        """See `LayerSelection`: the one token of a step."""

    def select(self, state: GenerationState, layer: int, attention: list[torch.Tensor]) -> None:
        """See `LayerSelection.select`."""
        assert state.store is not None
        active = [
            None if sequence.selector is None else sequence.select(sequence.to_visual(weights))
            for sequence, weights in zip(state.sequences, attention, strict=True)
        ]
        if active[0] is not None:
            state.records.select(active[0], state.sequences[0].stats.choices_renewed)
        # The layers make the swaps as they run: those behind this one, in this very step.
        state.store.arrange(active)


def _bias(prefill: Prefill) -> torch.Tensor | None:
    """What is added to the attention logits of the tokens `[B, R]` that are read; None for nothing.

    log n for a token that n were merged into, 0 for all others.
    """
    if not prefill.method.weighs_merged():
        return None
    embeddings = prefill.prompts.embeddings
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    bias = torch.zeros(prefill.at.shape, dtype=wide, device=embeddings.device)
    pairs = zip(prefill.state.sequences, prefill.selections, strict=True)
    for number, (sequence, selection) in enumerate(pairs):
        if (sizes := selection.sizes) is not None:
            bias[number, sequence.visual.to(bias.device)] = sizes.double().log().to(bias)
    return bias

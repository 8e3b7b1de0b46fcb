"""Selections by the language model's own attention.

To each frame, before a method selects from any (for budgets that are shared by it): a pass of the
stock decoder over the uncompressed prompt, without a cache, ended where the last layer attends. And
to each token, between two layers: those behind get fewer of a sequence's tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from dycoke_cli.compression.method import LayerPruning
from dycoke_cli.engine.kv_cache import LAYERS_IN_A_LOOP
from dycoke_cli.engine.state import (
    STATE_ARGUMENT,
    DecodeStats,
    GenerationState,
    LayerSelection,
    Prefill,
    ShortenedSequence,
    Stage,
)
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout
from dycoke_cli.stock.forward import Arguments, Left
from dycoke_cli.stock.private_api import cache_name

OF_LAYERS = 2 / 3
"""The first layer whose attention counts, as a share of all: the 16th of 24, counted from 0."""


class AttentionToFrames(Stage):
    """Reads each prompt before the method selects from it."""

    def before_prefill(self, prefill: Prefill) -> None:
        """Note the attention to each frame of each video."""
        if prefill.is_positional:
            raise UsageError(
                f"the method {prefill.method.name} with frames_by question reads the prompt twice, "
                "and the text decoder of this model gets arguments without names; use frames_by "
                "equal"
            )
        prompts = prefill.prompts
        layouts, joined = prompts.layouts[0], prompts.joined[0]
        assert joined is not None, "a prompt without a video isn't shortened"
        scored = _Scored(joined, len(prefill.decoder.layers))
        sequence = ShortenedSequence(padding=0, visual=joined.index, stats=DecodeStats())
        state = GenerationState([sequence], torch.zeros(1, 1, dtype=torch.int64), keep=None)
        state.selection = scored
        own = {STATE_ARGUMENT: state, cache_name(prefill.given): None, "use_cache": False}
        with suppress(Left):
            prefill.decoder(**{**prefill.given, **own})
        weights = (
            torch.stack(scored.of_layers).mean(0).split([len(layout.index) for layout in layouts])
        )
        of_frames = [
            of_video.view(layout.frames, -1).mean(-1)
            for of_video, layout in zip(weights, layouts, strict=True)
        ]
        prefill.prompts = replace(prompts, frame_attention=torch.cat(of_frames))


class _Scored(LayerSelection):
    """Collects the attention of the last token to the visual ones: see `LayerSelection`.

    Attributes:
        of_layers: of each layer that counts `[V]`, float32.
    """

    def __init__(self, layout: Layout, layers: int) -> None:
        self._visual = layout.index
        self._counted = range(int(layers * OF_LAYERS), layers)
        self.of_layers: list[torch.Tensor] = []

    def scores_at(self, layer: int) -> bool:
        """Whether the layer's attention counts."""
        return layer in self._counted

    def keys(self, layer: int) -> torch.Tensor:
        """The visual tokens."""
        return self._visual

    def select(self, state: GenerationState, layer: int, attention: list[torch.Tensor]) -> None:
        """Keep it; no token is dropped."""
        self.of_layers.append(attention[0].cpu())
        if layer == self._counted[-1]:
            raise Left  # what is behind the last layer's attention isn't needed


class TokenPruning(LayerSelection):
    """Takes a method's selections during prefill, and drops the others from later layers.

    Args:
        prunings: ascending by layer.
        layers: of the text decoder.
        visual: `[V]`, int64: where the visual tokens of the sequence are.
        length: R, how many tokens it has.
        queries: by layer, where that selection asks for it: the tokens whose attention decides.
    """

    def __init__(
        self,
        prunings: Sequence[LayerPruning],
        layers: Sequence[Any],
        visual: torch.Tensor,
        length: int,
        queries: Mapping[int, torch.Tensor],
    ) -> None:
        self._prunings = {pruning.layer: pruning for pruning in prunings}
        self._scoring = {p.layer if p.own_attention else p.layer - 1: p for p in prunings}
        self._layers, self._length, self._queries = layers, length, queries
        # Of the tokens that are left: which they are of all R, where the visual ones are among
        # them, and which of the V these are.
        self._tokens, self._places = torch.arange(length), visual
        self._kept = torch.arange(len(visual))
        self._attention: torch.Tensor | None = None
        self._asked: int | None = None  # the layer that is asked for its own attention

    def scores_at(self, layer: int) -> bool:
        """See `LayerSelection`."""
        return layer in self._scoring

    def queries(self, layer: int) -> torch.Tensor | None:
        """See `LayerSelection`."""
        tokens = self._queries.get(self._scoring[layer].layer)
        return None if tokens is None else torch.searchsorted(self._tokens.cpu(), tokens)

    def select(self, state: GenerationState, layer: int, attention: list[torch.Tensor]) -> None:
        """See `LayerSelection.select`; the selection follows where the hidden states are known."""
        if layer == self._asked:
            raise Left(attention[0])
        # A layer that was asked before is scored again: it must not attend more than once.
        if not self._scoring[layer].own_attention:
            self._attention = attention[0]  # of one sequence alone: `check_prefill` refuses a batch

    def of_chunk(self, start: int, stop: int) -> TokenPruning:
        """See `LayerInputs.of_chunk`: the whole prompt is one."""
        return self

    def before_layer(self, state: GenerationState, number: int, arguments: Arguments) -> Arguments:
        """The arguments of a decoder layer, of the kept tokens alone.

        Args:
            arguments: hidden states `[1, S, D]`; behind the first pruned layer they are short
                already. By name, of the whole sequence: `position_embeddings` (each `[..., S, D]`)
                and, in some families, more with one number per token, `[..., S]`.
        """
        if number == 0 and len(self._tokens) < self._length:
            raise UsageError(LAYERS_IN_A_LOOP)
        (hidden, *rest), kwargs = arguments
        pruning = self._prunings.get(number)
        if pruning is not None:
            if pruning.own_attention:
                short = (hidden, *rest), kwargs | self._gathered(kwargs)
                self._attention = self._own_attention(state, number, short)
            hidden = self._prune(state, pruning, hidden)
        if len(self._tokens) == self._length:  # no selection yet, or one that keeps all
            return (hidden, *rest), kwargs
        return (hidden, *rest), kwargs | self._gathered(kwargs)

    def _own_attention(
        self, state: GenerationState, number: int, arguments: Arguments
    ) -> torch.Tensor:
        args, kwargs = arguments
        self._asked = number
        try:
            self._layers[number].forward(*args, **kwargs | {cache_name(kwargs): None})
        except Left as left:  # where its attention is known, which is all that is asked of it
            attention: torch.Tensor = left.found
            return attention
        finally:
            self._asked = None
            state.forget_selection(number)
        raise RuntimeError(f"decoder layer {number} doesn't attend")

    def _prune(
        self, state: GenerationState, pruning: LayerPruning, hidden: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states `[1, R', D]` of the tokens that are left behind a selection."""
        assert self._attention is not None, "the scoring layer runs before"
        places = self._places.to(hidden.device)
        weights = self._attention.to(hidden.device)[places]
        selection = pruning.select(weights, hidden[0, places])
        kept = selection.kept.to(hidden.device)
        if selection.features is not None:
            hidden = hidden.index_copy(1, places[kept], selection.features.to(hidden)[None])
        stays = torch.ones(hidden.shape[1], dtype=torch.bool, device=hidden.device)
        stays[places] = False
        stays[places[kept]] = True
        self._tokens = state.left = self._tokens.to(hidden.device)[stays]
        self._places = (stays.cumsum(0) - 1)[places[kept]]
        self._kept = self._kept.to(hidden.device)[kept]
        state.sequences[0].stats.left[pruning.layer] = len(kept)
        state.records.select(self._kept)
        return hidden[:, stays]

    def _gathered(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        # Whatever has one number per token, found by its last size: families name it differently.
        pruned: dict[str, Any] = {
            name: self._gather(value, -1)
            for name, value in kwargs.items()
            if torch.is_tensor(value) and value.dim() and value.shape[-1] == self._length
        }
        pruned["position_embeddings"] = tuple(
            self._gather(rotations, -2) for rotations in kwargs["position_embeddings"]
        )
        # One sequence without padding: attention is causal, which takes no mask.
        pruned["attention_mask"] = None
        return pruned

    def _gather(self, tensor: torch.Tensor, dimension: int) -> torch.Tensor:
        # Of a model spread over several devices, the selection may come from another one.
        return tensor.index_select(dimension, self._tokens.to(tensor.device))


class InLLMPruning(Stage):
    """Sets it up for a prompt.

    Args:
        prunings: ascending by layer.
        layers: of the text decoder.
    """

    def __init__(self, prunings: Sequence[LayerPruning], layers: Sequence[Any]) -> None:
        self._prunings, self._layers = prunings, layers

    def layers(self) -> Iterable[int]:
        """The first that goes on with fewer tokens, and all behind it; and where a loop is seen."""
        return 0, *range(self._prunings[0].layer, len(self._layers))

    def after_selection(self, prefill: Prefill) -> None:
        """Let the call select and prune."""
        state, embeddings = prefill.state, prefill.kwargs["inputs_embeds"][0]
        visual = state.sequences[0].visual
        text = torch.arange(int(visual.max()) + 1, len(embeddings))
        queries = {
            pruning.layer: text[pruning.queries(embeddings[visual], embeddings[text]).cpu()]
            for pruning in self._prunings
            if pruning.queries is not None
        }
        length = prefill.at.shape[1]
        pruning = TokenPruning(self._prunings, self._layers, visual, length, queries)
        state.selection = pruning
        state.layer_inputs.append(pruning)

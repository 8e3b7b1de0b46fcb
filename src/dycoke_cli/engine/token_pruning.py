"""In-LLM token pruning of one sequence: layers behind a selection get fewer of its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from dycoke_cli.compression.method import LayerPruning
from dycoke_cli.engine.generation_state import GenerationState
from dycoke_cli.engine.kv_cache import LAYERS_IN_A_LOOP
from dycoke_cli.engine.stage import Prefill, Stage
from dycoke_cli.engine.thread_hook import Arguments
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import cache_name


class _OwnAttention(Exception):
    """Ends a layer's forward where its attention is known, which is all that is asked of it."""

    def __init__(self, attention: torch.Tensor) -> None:
        super().__init__()
        self.attention = attention


class TokenPruning:
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

    def keys(self, layer: int) -> None:
        """See `LayerSelection`: all."""

    def queries(self, layer: int) -> torch.Tensor | None:
        """See `LayerSelection`."""
        tokens = self._queries.get(self._scoring[layer].layer)
        return None if tokens is None else torch.searchsorted(self._tokens.cpu(), tokens)

    def select(self, state: GenerationState, layer: int, attention: list[torch.Tensor]) -> None:
        """See `LayerSelection.select`; the selection follows where the hidden states are known."""
        if layer == self._asked:
            raise _OwnAttention(attention[0])
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
        except _OwnAttention as found:
            return found.attention
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

"""In-LLM token pruning of one sequence: layers behind the selection get fewer of its tokens."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.compression.base import LayerPruning
from dycoke_cli.engine.generation_state import GenerationState
from dycoke_cli.engine.stage import Prefill, Stage
from dycoke_cli.engine.thread_hook import Arguments


class TokenPruning:
    """Takes a method's selection during prefill, and drops the others from later layers.

    Args:
        visual: `[V]`, int64: where the visual tokens of the sequence are.
    """

    def __init__(self, pruning: LayerPruning, visual: torch.Tensor, length: int) -> None:
        self.layer = pruning.layer
        self._keep, self._merge = pruning.keep, pruning.merge
        self._visual, self._length = visual, length
        self._kept = torch.arange(len(visual))
        self._tokens = torch.arange(length)

    @property
    def scoring_layer(self) -> int:
        """See `LayerSelection`."""
        return self.layer - 1

    def select(self, state: GenerationState, attention: list[torch.Tensor]) -> None:
        """See `LayerSelection.select`; of the prompt's last token."""
        # Of one sequence alone: `check_prefill` refuses a batch.
        kept = self._kept = self._keep(attention[0])
        visual = self._visual.to(kept.device)
        stays = torch.ones(self._length, dtype=torch.bool, device=kept.device)
        stays[visual] = False
        stays[visual[kept]] = True
        self._tokens = state.left = stays.nonzero().flatten()
        state.sequences[0].stats.visual_after_pruning = len(kept)
        state.records.select(kept)

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
        if number < self.layer:
            return arguments
        (hidden, *rest), kwargs = arguments
        if number == self.layer:
            hidden = self._gather(self._merged(hidden), 1)
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
        return (hidden, *rest), kwargs | pruned

    def _merged(self, hidden: torch.Tensor) -> torch.Tensor:
        if self._merge is None:
            return hidden
        visual, kept = self._visual.to(hidden.device), self._kept.to(hidden.device)
        merged = self._merge(hidden[0, visual], kept).to(hidden)
        return hidden.index_copy(1, visual[kept], merged[None])

    def _gather(self, tensor: torch.Tensor, dimension: int) -> torch.Tensor:
        # Of a model spread over several devices, the selection may come from another one.
        return tensor.index_select(dimension, self._tokens.to(tensor.device))


class InLLMPruning(Stage):
    """Sets it up for a prompt.

    Args:
        layers: how many the text decoder has.
    """

    def __init__(self, pruning: LayerPruning, layers: int) -> None:
        self._pruning, self._layers = pruning, layers

    def layers(self) -> range:
        """The first that goes on with fewer tokens, and all behind it."""
        return range(self._pruning.layer, self._layers)

    def after_selection(self, prefill: Prefill) -> None:
        """Let the call select and prune."""
        state = prefill.state
        pruning = TokenPruning(self._pruning, state.sequences[0].visual, prefill.at.shape[1])
        state.selection = pruning
        state.layer_inputs.append(pruning)

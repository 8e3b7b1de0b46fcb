"""In-LLM token pruning of one sequence: layers behind the selection get fewer of its tokens."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.compression.base import LayerPruning


class TokenPruning:
    """Takes a method's selection during prefill, and drops the others from later layers.

    Attributes:
        layer: the first that goes on with fewer tokens.
        tokens: `[R']`, int64: which tokens of the sequence those are; all, before the selection.

    Args:
        visual: `[V]`, int64: where the visual tokens of the sequence are.
    """

    def __init__(self, pruning: LayerPruning, visual: torch.Tensor, length: int) -> None:
        self.layer = pruning.layer
        self._keep, self._merge = pruning.keep, pruning.merge
        self._visual, self._length = visual, length
        self._kept = torch.arange(len(visual))
        self.tokens = torch.arange(length)

    def select(self, attention: torch.Tensor) -> torch.Tensor:
        """Make the selection; return the visual tokens `[A]`, int64, ascending, that it keeps.

        Args:
            attention: `[V]`, float32: of the prompt's last token to each visual token, in the
                layer before `layer`.
        """
        kept = self._keep(attention)
        visual = self._visual.to(kept.device)
        stays = torch.ones(len(self.tokens), dtype=torch.bool, device=kept.device)
        stays[visual] = False
        stays[visual[kept]] = True
        self.tokens, self._kept = stays.nonzero().flatten(), kept
        return kept

    def pruned(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], layer: int
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a decoder layer, of the kept tokens alone.

        Args:
            args: hidden states `[1, S, D]`; behind the first pruned layer they are short already.
            kwargs: of the layer, of the whole sequence: `position_embeddings` (each `[..., S, D]`)
                and, in some families, more with one number per token, `[..., S]`.
        """
        hidden, *rest = args
        if layer == self.layer:
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
        return tensor.index_select(dimension, self.tokens.to(tensor.device))

"""A choice inside the language model, for one sequence: layers behind it read fewer rows."""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.compression.base import Inside
from dycoke_cli.engine.row import Row


class Narrowing:
    """Takes the choice while the prompt is read, and drops the other rows from what layers read.

    Attributes:
        layer: the first that goes on with fewer rows.
        rows: `[R']`, int64: which rows of the sequence those are; all, before the choice.

    Args:
        inside: the layer and the choice.
        row: the sequence.
        length: how many rows it has.
    """

    def __init__(self, inside: Inside, row: Row, length: int) -> None:
        self.layer = inside.layer
        self._keep = inside.keep
        self._row, self._length = row, length
        self.rows = torch.arange(length)

    def choose(self, attention: torch.Tensor) -> None:
        """Make the choice.

        Args:
            attention: `[V]`, float32: of the prompt's last token to each visual token, in the
                layer before `layer`.
        """
        kept = self._keep(attention)
        visual = self._row.visual.to(kept.device)
        stays = torch.ones(len(self.rows), dtype=torch.bool, device=kept.device)
        stays[visual] = False
        stays[visual[kept]] = True
        self.rows = stays.nonzero().flatten()
        self._row.stats.visual_narrowed = len(kept)

    def narrow(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], layer: int
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a decoder layer, of those rows alone that go on.

        Args:
            args: hidden states `[1, S, D]`; behind the first narrowed layer they are short already.
            kwargs: of the layer, of the whole sequence: `position_embeddings` (each `[..., S, D]`)
                and, in some families, more with a number a row, `[..., S]`.
            layer: its number, `self.layer` or more.
        """
        hidden, *rest = args
        if layer == self.layer:
            hidden = self._gather(hidden, 1)
        narrowed: dict[str, Any] = {
            name: self._gather(value, -1)
            for name, value in kwargs.items()
            if torch.is_tensor(value) and value.dim() and value.shape[-1] == self._length
        }
        narrowed["position_embeddings"] = tuple(
            self._gather(turns, -2) for turns in kwargs["position_embeddings"]
        )
        # One sequence without padding: attention is causal, which takes no mask.
        narrowed["attention_mask"] = None
        return (hidden, *rest), kwargs | narrowed

    def _gather(self, tensor: torch.Tensor, dimension: int) -> torch.Tensor:
        # Of a model spread over several devices, the choice may come from another one.
        return tensor.index_select(dimension, self.rows.to(tensor.device))

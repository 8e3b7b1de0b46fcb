"""The KV cache of one `generate()` call: what waits and what is active, row by row.

Nothing is kept on the model or in a global: two calls never mix.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache

from dycoke_cli.engine.kv_layer import KVLayer
from dycoke_cli.engine.placement import Placement
from dycoke_cli.engine.row import Row


class KVStore(Cache):
    """A cache whose layers from the prune layer on hand out active visual tokens only.

    The rows of a batch end at the same slot. Where they begin at different ones, for they have
    padding in front or different numbers of active tokens, `mask` says who reads what.

    Args:
        layers: of the language model.
        rows: of the batch.
        length: R, of the shortened sequences with their padding.
        sequence: S, of the sequences before anything was dropped.
        first_pruned: the first layer that hands out active tokens only; None where none does.
        discard: free what the first choice leaves out.
    """

    layers: list[KVLayer]  # type: ignore[assignment] # narrower than the base

    def __init__(
        self,
        *,
        layers: int,
        rows: list[Row],
        length: int,
        sequence: int,
        first_pruned: int | None = None,
        discard: bool = False,
    ) -> None:
        self._first_pruned = layers if first_pruned is None else first_pruned
        order = None
        if first_pruned is not None:
            order = torch.stack([_visual_first(row, length) for row in rows])
        super().__init__(
            layers=[KVLayer(order if i >= self._first_pruned else None) for i in range(layers)]
        )
        self._length, self._sequence, self._discard = length, sequence, discard
        self._paddings = [row.padding for row in rows]
        self._places = [Placement(row.padding, len(row.visual)) for row in rows]
        self._active: list[torch.Tensor | None] = [None] * len(rows)
        self._swap: tuple[torch.Tensor, torch.Tensor] | None = None
        self._freed = 0
        self._free_now = False

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append rows `[B, H, S, D]` to a layer; return what the step attends to there."""
        layer = self.layers[layer_idx]
        if layer_idx >= self._first_pruned and layer.is_initialized:
            if self._swap is not None:
                layer.swap(*self._swap)
            if self._free_now:
                layer.discard(self._freed)
            layer.start = self._start - self._freed
        return layer.update(key_states, value_states)

    def begin_step(self) -> None:
        """Forget the moves of the step before: each layer has made them."""
        self._swap = None
        self._free_now = False

    def arrange(self, active: list[torch.Tensor | None]) -> None:
        """Plan the moves of a step; the layers make them as they are updated.

        Args:
            active: for each row of the batch the visual tokens `[A]`, int64, that it attends to,
                the same object as at the step before where they are the same; None for a row
                without any visual token.
        """
        moves = []
        for number, chosen in enumerate(active):
            if chosen is None or chosen is self._active[number]:
                continue
            first, second = self._places[number].arrange(chosen)
            moves.append(
                [torch.stack([torch.full_like(s, number), s], dim=1) for s in (first, second)]
            )
        if self._discard and moves and not self._freed:
            self._freed, self._free_now = self._start, True
        if moves:
            self._swap = torch.cat([m[0] for m in moves]), torch.cat([m[1] for m in moves])
        self._active = active

    def mask(self, layer_idx: int, key: torch.Tensor) -> torch.Tensor | None:
        """Which of the keys that `update` handed out each row attends to in a decoding step.

        Args:
            layer_idx: the layer.
            key: `[B, H, K, D]`.

        Returns:
            `[B, K]`, bool, or None where all rows attend to all keys.
        """
        pruned = layer_idx >= self._first_pruned
        firsts = [place.first for place in self._places] if pruned else self._paddings
        start = self._start if pruned else 0
        if all(first == start for first in firsts):
            return None
        slots = torch.arange(start, start + key.shape[2], device=key.device)
        return slots >= torch.tensor(firsts, device=key.device)[:, None]

    @property
    def _start(self) -> int:
        """The first slot that any row reads in a pruned layer."""
        return min(place.first for place in self._places)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen, dropped ones included: what `generate()` counts by."""
        layer = self.layers[0]
        if not layer.is_initialized:
            return 0
        return self._sequence + layer.rows - self._length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No maximum."""
        return -1

    @property
    def nbytes(self) -> int:
        """Bytes held on all devices, spare rows included."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def active_nbytes(self) -> int:
        """Bytes of the rows that the last step read."""
        return sum(layer.active_nbytes for layer in self.layers)


def _visual_first(row: Row, length: int) -> torch.Tensor:
    """The order in which a pruned layer stores a row: padding, visual tokens, text."""
    is_text = torch.ones(length, dtype=torch.bool)
    is_text[: row.padding] = False
    is_text[row.visual] = False
    return torch.cat([torch.arange(row.padding), row.visual, is_text.nonzero().flatten()])

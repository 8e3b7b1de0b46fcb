"""The KV cache of one `generate()` call: what waits and what is active, row by row.

Nothing is kept on the model or in a global: two calls never mix.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from transformers.cache_utils import Cache

from dycoke_cli.engine.hosted_layer import HostedLayer
from dycoke_cli.engine.kv_layer import KVLayer
from dycoke_cli.engine.placement import Moves, Placement
from dycoke_cli.engine.pruned_layer import DiscardingLayer, PrunedLayer
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
        dp_cache: where the tokens that wait are: on the "device", on the "host", or "discard" them.
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
        dp_cache: str = "device",
    ) -> None:
        self._first_pruned = layers if first_pruned is None else first_pruned
        self._length, self._sequence = length, sequence
        self._hosted = dp_cache == "host"
        self._paddings = [row.padding for row in rows]
        self._places = []
        before = 0
        for number, row in enumerate(rows):
            self._places.append(
                Placement(number, row.padding, len(row.visual), before, filled=not self._hosted)
            )
            before += len(row.visual)
        self._active: list[torch.Tensor | None] = [None] * len(rows)
        self._moves: Moves | None = None
        self._reading_prompt = True
        pruned = layers - self._first_pruned
        super().__init__(
            layers=[
                *(KVLayer() for _ in range(self._first_pruned)),
                *(self._pruned_layers(rows, dp_cache, pruned) if pruned else ()),
            ]
        )

    def _pruned_layers(self, rows: list[Row], dp_cache: str, layers: int) -> list[PrunedLayer]:
        order = torch.stack([_visual_first(row, self._length) for row in rows])
        if dp_cache == "host":
            visual = torch.cat([_with_row(i, row.visual) for i, row in enumerate(rows)])
            text = min(place.behind for place in self._places)
            return [HostedLayer(order, visual, text) for _ in range(layers)]
        kind = DiscardingLayer if dp_cache == "discard" else PrunedLayer
        return [kind(order) for _ in range(layers)]

    def expect_pieces(self) -> None:
        """The prompt will come in pieces."""
        for layer in self.layers:
            layer.expected = self._length

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append rows `[B, H, S, D]` to a layer; return what they attend to there."""
        layer = self.layers[layer_idx]
        if isinstance(layer, PrunedLayer) and not self._reading_prompt:
            layer.begin_step(self._moves, self._start)
        return layer.update(key_states, value_states)

    def begin_step(self) -> None:
        """Begin a decoding step: each layer has made the moves of the step before."""
        self._reading_prompt = False
        self._moves = None

    def arrange(self, active: list[torch.Tensor | None]) -> None:
        """Plan the moves of a step; the layers make them as they are updated.

        Args:
            active: for each row of the batch the visual tokens `[A]`, int64, that it attends to,
                the same object as at the step before where they are the same; None for a row
                that attends to all.
        """
        moves = [
            place.arrange(chosen)
            for place, chosen, before in zip(self._places, active, self._active, strict=True)
            if chosen is not None and chosen is not before
        ]
        if moves:
            self._moves = Moves.together(moves)
            if self._hosted:  # here once, and not in each layer: it waits for the device
                self._moves = replace(self._moves, tokens=self._moves.tokens.cpu())
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
        """Tokens seen, behind the prompt with the dropped ones: what `generate()` counts by."""
        rows = self.layers[0].rows
        # Between its pieces a prompt is masked by the rows that were read.
        return rows if rows < self._length else self._sequence + rows - self._length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No maximum."""
        return -1

    @property
    def nbytes(self) -> int:
        """Bytes held on all devices and in main memory, spare rows included."""
        return sum(layer.nbytes for layer in self.layers) + self.host_nbytes

    @property
    def host_nbytes(self) -> int:
        """Bytes of them that are held in main memory, for the device."""
        return sum(layer.host_nbytes for layer in self.layers)

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


def _with_row(number: int, places: torch.Tensor) -> torch.Tensor:
    """`[n, 2]`: the number of a row of the batch, and each of the places `[n]`."""
    return torch.stack([torch.full_like(places, number), places], dim=1)

"""The KV cache of one `generate()` call, with all state of its choices inside the model.

Nothing is kept on the model or in a global: two calls never mix.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache

from dycoke_cli.compression.base import Inside, Pruning
from dycoke_cli.engine.kv_layer import KVLayer
from dycoke_cli.engine.narrowing import Narrowing
from dycoke_cli.engine.stats import DecodeStats
from dycoke_cli.engine.trace import Recorder


class KVStore(Cache):
    """A cache whose layers from the prune layer on hand out active visual tokens only.

    Args:
        layers: of the language model.
        sequence: rows of the sequence before anything was dropped.
        padding: of those, how many were padding.
        visual: rows `[visual.start, visual.stop)` of the shortened sequence are visual tokens.
        rows: of the shortened sequence.
        position_shift: how far the positions of generated tokens move back.
        inside: the choice while the prompt is read, or None.
        pruning: decode pruning, or None.
        stats: counts the choices.
        recorder: takes down each step, or None.
    """

    layers: list[KVLayer]  # type: ignore[assignment] # narrower than the base

    def __init__(
        self,
        *,
        layers: int,
        sequence: int,
        padding: int,
        visual: range,
        rows: int,
        position_shift: int,
        pruning: Pruning | None,
        stats: DecodeStats,
        inside: Inside | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.recorder = recorder
        self.narrowing = None if inside is None else Narrowing(inside, visual, rows, stats)
        self.reading_prompt = True
        self.pruning = pruning
        self.visual = visual
        self.position_shift = position_shift
        self.stats = stats
        self._sequence = sequence
        self._padding = padding
        self._prompt_rows = rows
        first_pruned = layers if pruning is None else pruning.layer
        order = _visual_first(visual, rows) if pruning else None
        super().__init__(
            layers=[KVLayer(order if i >= first_pruned else None) for i in range(layers)]
        )
        self._first_pruned = first_pruned
        self._slot_of = torch.arange(len(visual))
        self._active: torch.Tensor | None = None
        self._swap: tuple[torch.Tensor, torch.Tensor] | None = None
        self._start = 0
        self._discard_now = False

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
            if self._discard_now:
                layer.discard(self._start)
            layer.start = 0 if self.pruning and self.pruning.discard else self._start
        return layer.update(key_states, value_states)

    def begin_step(self) -> None:
        """Forget the moves of the step before: each layer has made them."""
        self.reading_prompt = False
        self._swap = None
        self._discard_now = False

    def scores_at(self, layer_idx: int) -> bool:
        """Whether the attention of this layer, in this forward, is what a choice is made from."""
        choice = self.narrowing if self.reading_prompt else self.pruning
        return choice is not None and layer_idx == choice.layer - 1

    def choose(self, attention: torch.Tensor) -> None:
        """Make the choice of this forward; the layers behind follow it.

        Args:
            attention: `[V]`, float32: of the last query to each visual token.
        """
        if self.reading_prompt:
            assert self.narrowing is not None
            self.narrowing.choose(attention)
        else:
            self._choose_for_step(attention)

    def _choose_for_step(self, attention: torch.Tensor) -> None:
        assert self.pruning is not None
        active = self.pruning.selector.step(attention)
        self.stats.step(active, self.pruning.selector.renewals)
        if self.recorder is not None:
            self.recorder.step(attention, active, self.pruning.selector.renewals)
        if active is self._active:
            return
        if len(active) == len(self.visual):
            self._start = 0  # everything is read where it lies; nothing moves
        else:
            self._arrange(active)
        self._discard_now = self.pruning.discard and self._active is None
        self._active = active

    def _arrange(self, active: torch.Tensor) -> None:
        """Plan the swaps that bring the active tokens into the slots before the text."""
        self._slot_of = self._slot_of.to(active.device)
        self._start = len(self.visual) - len(active)
        is_active = torch.zeros_like(self._slot_of, dtype=torch.bool)
        is_active[active] = True
        waits = self._slot_of < self._start
        entering = (is_active & waits).nonzero().flatten()
        leaving = (~is_active & ~waits).nonzero().flatten()
        first, second = self._slot_of[entering], self._slot_of[leaving]
        self._swap = (first, second)
        self._slot_of[entering], self._slot_of[leaving] = second, first

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen, dropped ones included: what `generate()` counts by."""
        layer = self.layers[0]
        if not layer.is_initialized:
            return 0
        return self._sequence + layer.rows - self._prompt_rows

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No maximum."""
        return -1

    def next_position(self) -> int:
        """Of the token to come, in a sequence in which nothing was dropped."""
        return self.get_seq_length() - self._padding

    @property
    def nbytes(self) -> int:
        """Bytes held on all devices, spare rows included."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def active_nbytes(self) -> int:
        """Bytes of the rows that the last step read."""
        return sum(layer.active_nbytes for layer in self.layers)


def _visual_first(visual: range, rows: int) -> torch.Tensor:
    """The storage order of a pruned layer: visual rows, then the text before and behind them."""
    return torch.cat(
        [
            torch.arange(visual.start, visual.stop),
            torch.arange(visual.start),
            torch.arange(visual.stop, rows),
        ]
    )

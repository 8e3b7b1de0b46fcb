"""A layer of which each step reads active tokens only, with what waits in front of them.

`[waiting | active | text and generated | spare]`: a step reads from the active part on. Softmax
doesn't care for the order of keys, for their rotary positions are in them.
"""

from __future__ import annotations

import torch

from dycoke_cli.engine.kv_layer import KVLayer
from dycoke_cli.engine.placement import Moves


class PrunedLayer(KVLayer):
    """Rows in slots; a slot is counted over what was freed in front of the rows, too.

    A prompt that comes in pieces is held in reading order, which later pieces attend to, until
    the first decoding step.

    Attributes:
        base: the slot of the first row that is held.

    Args:
        order: `[B, R]`, int64: for each slot the row of the prompt that it gets.
    """

    def __init__(self, order: torch.Tensor) -> None:
        super().__init__()
        self.base = 0
        self._order = order
        self._settled = False

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append rows `[B, H, S, D]`; return the keys and values that they attend to."""
        if self.is_initialized or self.expected:
            return super().update(key_states, value_states)
        self._settle(key_states, value_states)
        self.is_initialized = True
        # The prompt itself attends in reading order, under the causal mask.
        return key_states, value_states

    def begin_step(self, moves: Moves | None, start: int) -> None:
        """Prepare a decoding step.

        Args:
            moves: what a new choice changes, or None.
            start: the first slot that any row of the batch reads.
        """
        if not self._settled:
            prompt = slice(0, self.rows)
            self._settle(
                self.keys[:, prompt].transpose(1, 2), self.values[:, prompt].transpose(1, 2)
            )
        if moves is not None:
            self._move(moves, start)
        self.start = start - self.base

    def _settle(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Put the rows of a whole prompt, in reading order, into their slots."""
        self._take(key_states, value_states, self._order)
        self._settled = True

    def _take(
        self, key_states: torch.Tensor, value_states: torch.Tensor, order: torch.Tensor
    ) -> None:
        order = order.to(key_states.device)
        keys, values = in_order(key_states, order), in_order(value_states, order)
        self._allocate(key_states, value_states, order.shape[1])
        self.rows = 0
        self._append(keys, values)

    def _move(self, moves: Moves, start: int) -> None:
        # Of a model spread over several devices, the choice may come from another one.
        one, other = self._flat(moves.source), self._flat(moves.target)
        for rows in (self.keys.flatten(0, 1), self.values.flatten(0, 1)):
            moved = rows.index_select(0, one)
            rows.index_copy_(0, one, rows.index_select(0, other))
            rows.index_copy_(0, other, moved)

    def _flat(self, slots: torch.Tensor) -> torch.Tensor:
        slots = slots.to(self.keys.device)
        return slots[:, 0] * self.keys.shape[1] + slots[:, 1] - self.base


class DiscardingLayer(PrunedLayer):
    """A layer that frees, for good, what the first choice leaves out."""

    def _move(self, moves: Moves, start: int) -> None:
        super()._move(moves, start)
        freed = start - self.base
        self.keys = self.keys[:, freed:].clone()
        self.values = self.values[:, freed:].clone()
        self.rows -= freed
        self.base = start


def in_order(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Rows of `[B, H, S, D]` in the order `[B, R]` of their row of the batch: `[B, H, R, D]`."""
    heads, width = states.shape[1], states.shape[3]
    return states.gather(2, order[:, None, :, None].expand(-1, heads, -1, width))

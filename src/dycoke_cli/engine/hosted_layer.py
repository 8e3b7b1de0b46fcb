"""A pruned layer whose visual tokens live in main memory; the device holds what a step reads."""

from __future__ import annotations

import torch

from dycoke_cli.engine.host_rows import HostRows
from dycoke_cli.engine.placement import Moves
from dycoke_cli.engine.pruned_layer import PrunedLayer


class HostedLayer(PrunedLayer):
    """On the device `[active | text and generated | spare]`; in main memory all visual tokens.

    They go there as the prompt is read, so that most of a long prompt never stays on the device.
    What a new choice takes is fetched into the slots of what it leaves out.

    Args:
        order: `[B, R]`, int64: for each slot the row of the prompt that it gets.
        visual: `[V, 2]`, int64: (row of the batch, row of the prompt) of all visual tokens.
        base: the first slot that is held on the device before there is a choice.
    """

    def __init__(self, order: torch.Tensor, visual: torch.Tensor, base: int) -> None:
        super().__init__(order[:, base:])
        self._visual, self._first_held = visual, base
        self._host: tuple[HostRows, HostRows] | None = None

    def _settle(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        row, place = self._visual.to(key_states.device).unbind(1)
        self._host = HostRows(key_states[row, :, place]), HostRows(value_states[row, :, place])
        super()._settle(key_states, value_states)
        self.base = self._first_held

    def _move(self, moves: Moves, start: int) -> None:
        assert self._host is not None
        if start < self.base:
            self.keys, self.values = (self._with_room(x, start) for x in (self.keys, self.values))
            self.rows += self.base - start
            self.base = start
        target = self._flat(moves.target)
        for held, host in zip((self.keys, self.values), self._host, strict=True):
            held.flatten(0, 1).index_copy_(0, target, host.fetch(moves.tokens))

    def _with_room(self, held: torch.Tensor, start: int) -> torch.Tensor:
        """Rows `[B, capacity, H, D]` from slot `start` on."""
        more = self.base - start
        wider = held.new_empty(held.shape[0], more + held.shape[1], *held.shape[2:])
        # What no choice fills is masked, and has to be a number for that.
        wider[:, :more] = 0
        wider[:, more : more + self.rows] = held[:, : self.rows]
        return wider

    @property
    def host_nbytes(self) -> int:
        """Bytes held in main memory."""
        return 0 if self._host is None else sum(rows.nbytes for rows in self._host)

"""Which slots of the pruned layers hold the visual tokens of one row of a batch."""

from __future__ import annotations

import torch


class Placement:
    """Slots `[padding | waiting | active | text and generated]`, of which a step reads the end.

    Attributes:
        first: the first slot that a step reads.

    Args:
        padding: rows of padding in front.
        tokens: V, the visual tokens behind them.
    """

    def __init__(self, padding: int, tokens: int) -> None:
        self.first = padding
        self._padding = padding
        self._slot_of = torch.arange(padding, padding + tokens)

    def arrange(self, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Plan the swaps that bring the active tokens into the slots before the text.

        Args:
            active: `[A]`, int64, ascending.

        Returns:
            Two lists of slots, int64: what is in `first[i]` and in `second[i]` changes places.
        """
        slot_of = self._slot_of = self._slot_of.to(active.device)
        if len(active) == len(slot_of):
            self.first = self._padding  # everything is read where it lies; nothing moves
            return slot_of[:0], slot_of[:0]
        self.first = self._padding + len(slot_of) - len(active)
        is_active = torch.zeros_like(slot_of, dtype=torch.bool)
        is_active[active] = True
        waits = slot_of < self.first
        entering = (is_active & waits).nonzero().flatten()
        leaving = (~is_active & ~waits).nonzero().flatten()
        first, second = slot_of[entering], slot_of[leaving]
        slot_of[entering], slot_of[leaving] = second, first
        return first, second

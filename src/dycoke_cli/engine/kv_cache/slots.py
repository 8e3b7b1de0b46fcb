"""Slots of the visual tokens of one sequence of a batch, in all pruned layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Swaps:
    """What a new selection changes: the entries in `source[i]` and in `target[i]` swap slots."""

    source: torch.Tensor  # `[n, 2]`, int64: (sequence, slot) where each was while it was evicted
    # `[n, 2]`, int64: (sequence, slot) that it gets, from a token that is evicted
    target: torch.Tensor

    @classmethod
    def together(cls, swaps: Sequence[Swaps]) -> Swaps:
        """Those of several sequences as one."""
        return cls(torch.cat([s.source for s in swaps]), torch.cat([s.target for s in swaps]))


class Slots:
    """Slots `[padding | evicted | active | text and generated]`, of which a step reads the end.

    Attributes:
        first: the first slot that a step attends to.
        slot_of: `[V]`, int64: the slot of each visual token.
    """

    def __init__(self, sequence: int, padding: int, tokens: int) -> None:
        self.first = padding
        self._sequence, self._padding = sequence, padding
        self.slot_of = torch.arange(padding, padding + tokens)

    def arrange(self, active: torch.Tensor) -> Swaps:
        """Plan the swaps that bring the active tokens into the slots before the text.

        Args:
            active: `[A]`, int64, ascending.
        """
        slot_of = self.slot_of = self.slot_of.to(active.device)
        # The last A slots before the text are read. An active token in front of them swaps with an
        # inactive one among them; there are equally many of both, for A slots are to hold A tokens.
        # Example: V = 5, and slots 0 … 4 hold tokens 0 … 4. Active [0, 3] reads slots 3 and 4, so
        # tokens 0 and 4 swap.
        self.first = self._padding + len(slot_of) - len(active)
        is_active = torch.zeros_like(slot_of, dtype=torch.bool)
        is_active[active] = True
        was_evicted = slot_of < self.first
        entering = (is_active & was_evicted).nonzero().flatten()
        leaving = (~is_active & ~was_evicted).nonzero().flatten()
        source, target = slot_of[entering], slot_of[leaving]
        slot_of[entering], slot_of[leaving] = target, source
        return Swaps(self._located(source), self._located(target))

    def _located(self, slots: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full_like(slots, self._sequence), slots], dim=1)

"""Which slots of the pruned layers hold the visual tokens of one row of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Moves:
    """What a new choice changes: what is in `source[i]` and in `target[i]` changes places.

    Args:
        tokens: `[n]`, int64: the visual tokens that come in, counted over the whole batch.
        source: `[n, 2]`, int64: (row of the batch, slot) where each waited.
        target: `[n, 2]`, int64: (row of the batch, slot) that it gets, from one that leaves.
    """

    tokens: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor

    @classmethod
    def together(cls, moves: Sequence[Moves]) -> Moves:
        """Those of several rows as one."""
        return cls(
            torch.cat([m.tokens for m in moves]),
            torch.cat([m.source for m in moves]),
            torch.cat([m.target for m in moves]),
        )


class Placement:
    """Slots `[padding | waiting | active | text and generated]`, of which a step reads the end.

    Attributes:
        first: the first slot that a step reads.

    Args:
        row: number of the row of the batch.
        padding: rows of padding in front.
        tokens: V, the visual tokens behind them.
        tokens_before: visual tokens of the rows of the batch before this one.
        filled: whether the slots hold those tokens from the start; if not, all that the first
            choice takes comes in.
    """

    def __init__(
        self, row: int, padding: int, tokens: int, tokens_before: int = 0, filled: bool = True
    ) -> None:
        self.first = padding
        self._row, self._padding = row, padding
        self._tokens_before, self._filled = tokens_before, filled
        self._slot_of = torch.arange(padding, padding + tokens)

    @property
    def behind(self) -> int:
        """The first slot behind the visual tokens."""
        return self._padding + len(self._slot_of)

    def arrange(self, active: torch.Tensor) -> Moves:
        """Plan the moves that bring the active tokens into the slots before the text.

        Args:
            active: `[A]`, int64, ascending.
        """
        slot_of = self._slot_of = self._slot_of.to(active.device)
        self.first = self._padding + len(slot_of) - len(active)
        is_active = torch.zeros_like(slot_of, dtype=torch.bool)
        is_active[active] = True
        waits = slot_of < self.first
        entering = (is_active & waits).nonzero().flatten()
        leaving = (~is_active & ~waits).nonzero().flatten()
        source, target = slot_of[entering], slot_of[leaving]
        slot_of[entering], slot_of[leaving] = target, source
        if not self._filled:
            self._filled = True
            entering, source, target = active, slot_of[active], slot_of[active]
        return Moves(entering + self._tokens_before, self._in_row(source), self._in_row(target))

    def _in_row(self, slots: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full_like(slots, self._row), slots], dim=1)

"""Counts of what decode pruning did in one generated sequence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch


@dataclass
class DecodeStats:
    """Counts over the decoding steps of one sequence, step by step.

    Args:
        visual: visual tokens before the method's choice.
        visual_kept: visual tokens that the language model read.
        visual_narrowed: visual tokens that were left behind a choice inside the language model, or
            None where there was none.
        active: visual tokens that each step attended to from the prune layer on.
        evicted: tokens that left the active set at each step.
        recalled: tokens that came back into it at each step.
        renewals: choices made anew by then (the first choice isn't counted).
    """

    visual: int = 0
    visual_kept: int = 0
    visual_narrowed: int | None = None
    active: list[int] = field(default_factory=list)
    evicted: list[int] = field(default_factory=list)
    recalled: list[int] = field(default_factory=list)
    renewals: list[int] = field(default_factory=list)
    _before: torch.Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def visual_last(self) -> int:
        """Visual tokens that the last layer read of the prompt."""
        return self.visual_kept if self.visual_narrowed is None else self.visual_narrowed

    @property
    def mean_active(self) -> float:
        """Visual tokens that the last layer attended to, on average over steps."""
        return sum(self.active) / len(self.active) if self.active else self.visual_last

    @property
    def choices_renewed(self) -> int:
        """Steps at which the choice was made anew (the first choice isn't counted)."""
        return self.renewals[-1] if self.renewals else 0

    @property
    def tokens_evicted(self) -> int:
        """Tokens that left the active set, summed over steps."""
        return sum(self.evicted)

    @property
    def tokens_recalled(self) -> int:
        """Tokens that came back into it, summed over steps."""
        return sum(self.recalled)

    def step(self, active: torch.Tensor, renewals: int) -> None:
        """Count one step.

        Args:
            active: `[A]`, int64, ascending: the tokens that the step attends to; the same object
                as at the step before where the choice was not renewed.
            renewals: choices made anew so far, the first not counted.
        """
        self.active.append(len(active))
        self.renewals.append(renewals)
        left, back = 0, 0
        if active is not self._before:
            everything = torch.arange(self.visual_kept, device=active.device)
            before = everything if self._before is None else self._before
            stayed = int(torch.isin(active, before).sum())
            left, back = len(before) - stayed, len(active) - stayed
        self.evicted.append(left)
        self.recalled.append(back)
        self._before = active

    def until(self, steps: int) -> DecodeStats:
        """The counts of the first steps alone: a batch goes on until its longest answer ends."""
        return replace(
            self,
            active=self.active[:steps],
            evicted=self.evicted[:steps],
            recalled=self.recalled[:steps],
            renewals=self.renewals[:steps],
        )

"""Counts of what decode pruning did in one generated sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass
class DecodeStats:
    """Counts over the decoding steps of one sequence.

    Args:
        visual: visual tokens before the method's choice.
        visual_kept: visual tokens that the language model read.
        visual_narrowed: visual tokens that were left behind a choice inside the language model, or
            None where there was none.
        active: visual tokens that each step attended to from the prune layer on.
        choices_renewed: steps at which the choice was made anew (the first choice isn't counted).
        tokens_evicted: tokens that left the active set, summed over steps.
        tokens_recalled: tokens that came back into it, summed over steps.
    """

    visual: int = 0
    visual_kept: int = 0
    visual_narrowed: int | None = None
    active: list[int] = field(default_factory=list)
    choices_renewed: int = 0
    tokens_evicted: int = 0
    tokens_recalled: int = 0
    _before: torch.Tensor | None = field(default=None, repr=False)

    @property
    def visual_last(self) -> int:
        """Visual tokens that the last layer read of the prompt."""
        return self.visual_kept if self.visual_narrowed is None else self.visual_narrowed

    @property
    def mean_active(self) -> float:
        """Visual tokens that the last layer attended to, on average over steps."""
        return sum(self.active) / len(self.active) if self.active else self.visual_last

    def step(self, active: torch.Tensor, renewals: int) -> None:
        """Count one step.

        Args:
            active: `[A]`, int64, ascending: the tokens that the step attends to; the same object
                as at the step before where the choice was not renewed.
            renewals: choices made anew so far, the first not counted.
        """
        self.active.append(len(active))
        self.choices_renewed = renewals
        if active is self._before:
            return
        everything = torch.arange(self.visual_kept, device=active.device)
        before = everything if self._before is None else self._before
        stayed = int(torch.isin(active, before).sum())
        self.tokens_evicted += len(before) - stayed
        self.tokens_recalled += len(active) - stayed
        self._before = active

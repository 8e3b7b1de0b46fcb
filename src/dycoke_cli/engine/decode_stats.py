"""Counts of the selections in the decoding steps of a sequence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from dycoke_cli.compression.method import Pruning


@dataclass
class DecodeStats:
    """Counts over the decoding steps of one sequence, step by step."""

    visual: int = 0  # visual tokens before the method's selection
    visual_kept: int = 0  # visual tokens that the language model read
    kept_by_video: tuple[int, ...] = ()  # the same of each video of the prompt
    # visual tokens that were left before each layer where in-LLM token pruning dropped some
    left: dict[int, int] = field(default_factory=dict)
    # of the first generated token behind the prompt; the largest, where it has several
    next_position: int = 0
    # visual tokens that each step attended to from the prune layer on
    active: list[int] = field(default_factory=list)
    evicted: list[int] = field(default_factory=list)  # tokens that left the active set at each step
    recalled: list[int] = field(default_factory=list)  # tokens that came back into it at each step
    # reselections by then (the first selection isn't counted)
    reselections: list[int] = field(default_factory=list)
    _before: torch.Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def visual_last(self) -> int:
        """Visual tokens that the last layer read of the prompt."""
        return list(self.left.values())[-1] if self.left else self.visual_kept

    def read_by_layer(self, layers: int) -> list[int]:
        """Visual tokens that each layer read of the prompt."""
        counts, read = [], self.visual_kept
        for layer in range(layers):
            read = self.left.get(layer, read)
            counts.append(read)
        return counts

    def attended_by_layer(self, pruning: Pruning | None, layers: int) -> list[float]:
        """Visual tokens that each layer attended to, on average over steps."""
        if pruning is None:
            return [*self.read_by_layer(layers)]
        whole, active = float(self.visual_kept), self.mean_active
        return [whole if layer < pruning.layer else active for layer in range(layers)]

    @property
    def mean_active(self) -> float:
        """Visual tokens that the last layer attended to, on average over steps."""
        return sum(self.active) / len(self.active) if self.active else self.visual_last

    @property
    def choices_renewed(self) -> int:
        """Reselections: selections after the first."""
        return self.reselections[-1] if self.reselections else 0

    @property
    def tokens_evicted(self) -> int:
        """Tokens that left the active set, summed over steps."""
        return sum(self.evicted)

    @property
    def tokens_recalled(self) -> int:
        """Tokens recalled into it, summed over steps."""
        return sum(self.recalled)

    def step(self, active: torch.Tensor, reselections: int) -> None:
        """Count one step.

        Args:
            active: `[A]`, int64, ascending: the tokens that the step attends to; the same object
                as at the step before where the selection stayed.
            reselections: reselections so far, the first selection not counted.
        """
        left, back = 0, 0
        # By identity: comparing values would wait for the device at every step.
        if active is not self._before:
            everything = torch.arange(self.visual_kept, device=active.device)
            before = everything if self._before is None else self._before
            stayed = int(torch.isin(active, before).sum())
            left, back = len(before) - stayed, len(active) - stayed
        self._before = active
        self.active.append(len(active))
        self.evicted.append(left)
        self.recalled.append(back)
        self.reselections.append(reselections)

    def until(self, steps: int) -> DecodeStats:
        """The counts of the first steps alone: a batch goes on until its longest answer ends."""
        return replace(
            self,
            active=self.active[:steps],
            evicted=self.evicted[:steps],
            recalled=self.recalled[:steps],
            reselections=self.reselections[:steps],
        )

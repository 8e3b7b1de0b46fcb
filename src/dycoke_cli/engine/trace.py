"""Statistics of the decoding steps of a sequence, and on request a trace of each step.

A trace has the attention to each frame, and which tokens were evicted and recalled.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dycoke_cli.compression.base import Method
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout
from dycoke_cli.result import Trace, TraceStep


@dataclass
class DecodeStats:
    """Counts over the decoding steps of one sequence, step by step.

    Args:
        visual: visual tokens before the method's selection.
        visual_kept: visual tokens that the language model read.
        kept_by_video: the same of each video of the prompt.
        visual_after_pruning: visual tokens that in-LLM token pruning kept, or None without any.
        next_position: of the first generated token behind the prompt; the largest, where it has
            several.
        active: visual tokens that each step attended to from the prune layer on.
        evicted: tokens that left the active set at each step.
        recalled: tokens that came back into it at each step.
        reselections: reselections by then (the first selection isn't counted).
    """

    visual: int = 0
    visual_kept: int = 0
    kept_by_video: tuple[int, ...] = ()
    visual_after_pruning: int | None = None
    next_position: int = 0
    active: list[int] = field(default_factory=list)
    evicted: list[int] = field(default_factory=list)
    recalled: list[int] = field(default_factory=list)
    reselections: list[int] = field(default_factory=list)
    _before: torch.Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def visual_last(self) -> int:
        """Visual tokens that the last layer read of the prompt."""
        return self.visual_kept if self.visual_after_pruning is None else self.visual_after_pruning

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
        self.active.append(len(active))
        self.reselections.append(reselections)
        left, back = 0, 0
        if active is not self._before:
            everything = torch.arange(self.visual_kept, device=active.device)
            before = everything if self._before is None else self._before
            stayed = int(torch.isin(active, before).sum())
            left, back = len(before) - stayed, len(active) - stayed
        self.evicted.append(left)
        self.recalled.append(back)
        self._before = active

    def own_step(self, active: int) -> None:
        """Count one step at which each layer selected so many tokens for itself.

        Nothing is moved for that: no token is evicted, and none recalled.
        """
        self.reselections.append(len(self.active))
        self.active.append(active)
        self.evicted.append(0)
        self.recalled.append(0)

    def until(self, steps: int) -> DecodeStats:
        """The counts of the first steps alone: a batch goes on until its longest answer ends."""
        return replace(
            self,
            active=self.active[:steps],
            evicted=self.evicted[:steps],
            recalled=self.recalled[:steps],
            reselections=self.reselections[:steps],
        )


class Recorder:
    """Records the steps of one sequence, to be evaluated at the end.

    Attributes:
        kept: `[V]`, int64: the visual tokens that the language model read.

    Args:
        layer: that gives the attention.
        layout: of the prompt.
        kept: `[V]`, int64: the visual tokens that the language model read, by `frame*N + position`.
    """

    def __init__(self, layer: int, layout: Layout, kept: torch.Tensor) -> None:
        self._layer = layer
        self._frames, self._per_frame = layout.frames, layout.tokens_per_frame
        self.kept = kept.cpu()
        self._steps: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def step(self, attention: torch.Tensor, active: torch.Tensor, reselections: int) -> None:
        """Note one step.

        Args:
            attention: `[V]`, float32, of the step's query to each token that was read.
            active: `[A]`, int64, ascending: those of them that are active.
            reselections: reselections so far, the first selection not counted.
        """
        self._steps.append((attention, active, reselections))

    @property
    def active(self) -> tuple[torch.Tensor, ...]:
        """For each step `[A]`, int64, ascending: which of the tokens that were read are active."""
        return tuple(active for _, active, _ in self._steps)

    def trace(self, pieces: list[str]) -> Trace:
        """What happened; `pieces` has the text of each token, the first of them from the prompt."""
        was_active = torch.ones(len(self.kept), dtype=torch.bool)
        renewals_before = 0
        steps = []
        for text, (attention, active, reselections) in zip(pieces[1:], self._steps, strict=True):
            is_active = torch.zeros_like(was_active)
            is_active[active.cpu()] = True
            steps.append(
                TraceStep(
                    text=text,
                    attention=tuple(self._by_frame(attention.cpu()).tolist()),
                    active=tuple(self._by_frame(is_active.long()).tolist()),
                    evicted=self._tokens(was_active & ~is_active),
                    recalled=self._tokens(is_active & ~was_active),
                    renewed=reselections > renewals_before,
                )
            )
            was_active, renewals_before = is_active, reselections
        kept = self._by_frame(torch.ones_like(self.kept))
        return Trace(
            layer=self._layer,
            frames=self._frames,
            tokens_per_frame=self._per_frame,
            kept=tuple(kept.tolist()),
            first_text=pieces[0],
            steps=tuple(steps),
        )

    def _by_frame(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.new_zeros(self._frames).index_add(0, self.kept // self._per_frame, numbers)

    def _tokens(self, which: torch.Tensor) -> tuple[int, ...]:
        return tuple(self.kept[which].sort().values.tolist())


def check_traceable(method: Method) -> None:
    """Refuse a method without decode pruning by the attention of one layer.

    Raises:
        UsageError: such a method.
    """
    pruning = method.pruning()
    if pruning is not None and pruning.own is not None:
        raise UsageError(
            "a trace shows the selection of one layer, and here each selects for itself; take "
            "scorer=layer, or dycoke"
        )
    if pruning is not None and pruning.least:
        raise UsageError("a trace needs decode pruning at any length: set prune_from to 0")
    if pruning is None:
        raise UsageError(
            f"a trace shows decode pruning, which the method {method.name} doesn't do as it is "
            "set; take dycoke (with a prune_ratio of 0 all tokens stay active)"
        )


def text_pieces(tokenizer: Any, tokens: list[int]) -> list[str]:
    """The text that each token adds; one that ends within a character adds nothing yet.

    Args:
        tokenizer: of the model.
        tokens: of the answer.
    """
    pieces, whole = [], ""
    for end in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
        if text.endswith("\ufffd"):
            text = whole
        pieces.append(text[len(whole) :])
        whole = text
    return pieces

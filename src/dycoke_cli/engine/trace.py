"""Statistics of the decoding steps of a sequence, and on request a trace of each token.

A trace has the attention to each visual token, and which were active, evicted and recalled.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dycoke_cli.answer.answer_trace import Trace, TraceStep
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.errors import UsageError


@dataclass
class DecodeStats:
    """Counts over the decoding steps of one sequence, step by step."""

    visual: int = 0  # visual tokens before the method's selection
    visual_kept: int = 0  # visual tokens that the language model read
    kept_by_video: tuple[int, ...] = ()  # the same of each video of the prompt
    # visual tokens that in-LLM token pruning kept, or None without any
    visual_after_pruning: int | None = None
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
        # By identity: comparing values would wait for the device at every step.
        if active is not self._before:
            everything = torch.arange(self.visual_kept, device=active.device)
            before = everything if self._before is None else self._before
            stayed = int(torch.isin(active, before).sum())
            left, back = len(before) - stayed, len(active) - stayed
        self.evicted.append(left)
        self.recalled.append(back)
        self._before = active

    def step_by_layer(self, active: int) -> None:
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


@dataclass
class _Record:
    """What the forward that generates a token attends to."""

    active: torch.Tensor  # which of the tokens that were read, `[A]`, int64, ascending
    reselections: int = 0  # by then
    attention: torch.Tensor | None = None  # `[V]`, float32, to each of the tokens that were read
    # of each layer that selects for itself `[n]`, int64, in any order
    by_layer: list[torch.Tensor] = field(default_factory=list)


class Recorder:
    """Records what each forward of one sequence attends to, to be evaluated at the end.

    Attributes:
        layer: whose attention is recorded.
        kept: `[V]`, int64: the visual tokens that the language model read, in reading order.

    Args:
        kept: `[V]`, int64: the visual tokens that the language model read, by `frame*N + position`.
    """

    def __init__(
        self, layer: int, kept: torch.Tensor, merged_into: torch.Tensor | None = None
    ) -> None:
        self.layer = layer
        self.kept = kept.cpu()
        self._merged_into = merged_into
        self._records = [_Record(torch.arange(len(self.kept)))]

    def begin_step(self) -> None:
        """A decoding step begins; what is active stays so until something else is selected."""
        last = self._records[-1]
        self._records.append(_Record(last.active, last.reselections))

    def attend(self, attention: torch.Tensor, places: torch.Tensor) -> None:
        """Note the attention of the forward's last query.

        Args:
            attention: `[K]`, float32, to all keys; of a chunk of the prompt before its last one
                perhaps not yet to all visual tokens, which counts for nothing.
            places: `[V]`, int64: where the visual tokens are among them.
        """
        if int(places.max()) < len(attention):
            self._records[-1].attention = attention[places.to(attention.device)]

    def select(self, active: torch.Tensor, reselections: int = 0) -> None:
        """Note a selection.

        Args:
            active: `[A]`, int64, ascending: those of the tokens that were read that are active.
            reselections: reselections so far, the first selection not counted.
        """
        self._records[-1].active, self._records[-1].reselections = active, reselections

    def select_in_layer(self, selected: torch.Tensor) -> None:
        """Note what a layer selected for itself, `[n]`, int64, in any order."""
        self._records[-1].by_layer.append(selected)

    @property
    def active(self) -> tuple[torch.Tensor, ...]:
        """For each decoding step `[A]`, int64, ascending: which of the tokens read are active."""
        return tuple(record.active for record in self._records[1:])

    def trace(self, pieces: list[str]) -> Trace:
        """What happened; `pieces` has the text of each token, the first of them from the prompt."""
        order = self.kept.argsort()
        was_active = torch.ones(len(self.kept), dtype=torch.bool)
        reselections, steps = 0, []
        # Of an answer that was ended at a token which isn't part of it, there may be one more.
        for text, record in zip(pieces, self._records, strict=False):
            assert record.attention is not None, "the layer is one of the decoder's"
            is_active = torch.zeros_like(was_active)
            is_active[record.active.cpu()] = True
            of_layers = torch.zeros_like(was_active)
            for selected in record.by_layer:
                of_layers[selected.cpu()] = True
            steps.append(
                TraceStep(
                    text=text,
                    attention=tuple(record.attention.cpu()[order].tolist()),
                    active=self._tokens(of_layers if record.by_layer else is_active),
                    evicted=self._tokens(was_active & ~is_active),
                    recalled=self._tokens(is_active & ~was_active),
                    reselected=record.reselections > reselections,
                )
            )
            was_active, reselections = is_active, record.reselections
        return Trace(
            layer=self.layer,
            kept=tuple(self.kept[order].tolist()),
            merged_into=None if self._merged_into is None else tuple(self._merged_into.tolist()),
            steps=tuple(steps),
        )

    def _tokens(self, which: torch.Tensor) -> tuple[int, ...]:
        return tuple(self.kept[which].sort().values.tolist())


def traced_layer(config: Any, default: int, *methods: BoundMethod) -> int:
    """A layer whose attention to all visual tokens that were read can be recorded.

    It is the one before the first layer that any of the methods prunes by the selection of another
    layer, or the one before `default`.
    """
    before = default
    for method in methods:
        pruning, inside = method.decode_pruning, method.inside
        if pruning is not None and pruning.own is not None and pruning.dp_cache != "device":
            raise UsageError(
                f"what the method {method.name} attends to can be shown with dp_cache device, not "
                f"{pruning.dp_cache}: keys that are in main memory have no attention"
            )
        if pruning is not None and pruning.selector is not None:
            before = min(before, pruning.layer)
        if inside is not None:
            before = min(before, inside.layer)
    types = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    whole = [layer for layer in range(before) if types[layer] == "full_attention"]
    if not whole:
        raise UsageError(
            f"none of the model's first {before} layers attends to every token, so there is no "
            "attention to show"
        )
    return whole[-1]


def text_pieces(tokenizer: Any, tokens: list[int]) -> list[str]:
    """The text that each token adds; one that ends within a character adds nothing yet."""
    pieces, whole = [], ""
    for end in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
        if text.endswith("\ufffd"):
            text = whole
        pieces.append(text[len(whole) :])
        whole = text
    return pieces

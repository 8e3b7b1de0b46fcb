"""Trace of a generation: for each token the attention to the visual tokens, and their selection.

Of the first sequence: the attention of one layer to each of its visual tokens, and which of them
were active, evicted and recalled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from dycoke_cli.answer.answer import Trace, TraceStep
from dycoke_cli.compression.method import Method, layer_prunings
from dycoke_cli.engine.state import GenerationState, Prefill, Records, Stage
from dycoke_cli.errors import UsageError


class Recorder(Records):
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
        # Of each forward that generates a token: which of the tokens that were read it attends to,
        # `[A]`, int64, ascending; how often others had been selected by then; and by the number of
        # the forward its attention to each of the tokens that were read, `[V]`, float32.
        self._active = [torch.arange(len(self.kept))]
        self._reselections = [0]
        self._attention: dict[int, torch.Tensor] = {}

    def begin_step(self) -> None:
        """A decoding step begins; what is active stays so until something else is selected."""
        self._active.append(self._active[-1])
        self._reselections.append(self._reselections[-1])

    def attend(
        self,
        state: GenerationState,
        layer_idx: int,
        attention: Callable[[], torch.Tensor],
    ) -> None:
        """See `Records.attend`."""
        if layer_idx != self.layer:
            return
        places = state.sequences[0].visual
        found = attention()
        # Of a chunk of the prompt before its last one perhaps not yet to all visual tokens.
        if int(places.max()) < len(found):
            self._attention[len(self._active) - 1] = found[places.to(found.device)]

    def select(self, active: torch.Tensor, reselections: int = 0) -> None:
        """See `Records.select`."""
        self._active[-1], self._reselections[-1] = active, reselections

    @property
    def active(self) -> tuple[torch.Tensor, ...]:
        """For each decoding step `[A]`, int64, ascending: which of the tokens read are active."""
        return tuple(self._active[1:])

    def trace(self, pieces: Iterable[str]) -> Trace:
        """What happened; `pieces` has the text of each token, the first of them from the prompt."""
        order = self.kept.argsort()
        was_active = torch.ones(len(self.kept), dtype=torch.bool)
        reselections, steps = 0, []
        # Of an answer that was ended at a token which isn't part of it, there may be one more.
        for number, (text, active) in enumerate(zip(pieces, self._active, strict=False)):
            is_active = torch.zeros_like(was_active)
            is_active[active.cpu()] = True
            steps.append(
                TraceStep(
                    text=text,
                    attention=tuple(self._attention[number].cpu()[order].tolist()),
                    active=self._tokens(is_active),
                    evicted=self._tokens(was_active & ~is_active),
                    recalled=self._tokens(is_active & ~was_active),
                    reselected=self._reselections[number] > reselections,
                )
            )
            was_active, reselections = is_active, self._reselections[number]
        return Trace(
            layer=self.layer,
            kept=tuple(self.kept[order].tolist()),
            merged_into=None if self._merged_into is None else tuple(self._merged_into.tolist()),
            steps=tuple(steps),
        )

    def _tokens(self, which: torch.Tensor) -> tuple[int, ...]:
        return tuple(self.kept[which].sort().values.tolist())


class Tracing(Stage):
    """The stage that records.

    Attributes:
        recorder: of the newest call; None before the first.

    Args:
        layer: whose attention is recorded; see `traced_layer`.
    """

    def __init__(self, layer: int) -> None:
        self._layer = layer
        self.recorder: Recorder | None = None

    def before_prefill(self, prefill: Prefill) -> None:
        """Check that there is one video."""
        layouts = prefill.prompts.layouts
        if len(layouts) > 1 or len(layouts[0]) > 1:
            raise UsageError("a trace is of one question about one video, not of several")

    def after_selection(self, prefill: Prefill) -> None:
        """Let the call record."""
        merged_into = prefill.selections[0].into
        self.recorder = Recorder(self._layer, prefill.kept[0], merged_into)
        prefill.state.records = self.recorder

    def before_step(self, state: GenerationState, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Begin the record of a token."""
        state.records.begin_step()
        return kwargs


def traced_layer(config: Any, default: int, *methods: Method) -> int:
    """A layer whose attention to all visual tokens that were read can be recorded.

    It is the one before the first layer that any of the methods prunes by the selection of another
    layer, or the one before `default`.
    """
    before, layers = default, config.num_hidden_layers
    for method in methods:
        if (pruning := method.pruning()) is not None:
            before = min(before, pruning.layer)
        before = min([before, *(one.layer for one in layer_prunings(method, layers))])
    types = getattr(config, "layer_types", None) or ["full_attention"] * layers
    whole = [layer for layer in range(before) if types[layer] == "full_attention"]
    if not whole:
        raise UsageError(
            f"none of the model's first {before} layers attends to every token, so there is no "
            "attention to show"
        )
    return whole[-1]

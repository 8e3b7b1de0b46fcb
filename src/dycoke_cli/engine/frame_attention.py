"""How much the language model attends to each frame, before a method selects from any.

For methods that share their budget by it (`compression/budget.py`): a pass of the stock
decoder over the uncompressed prompt, without a cache, ended where the last layer attends.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch

from dycoke_cli.engine.decode_stats import DecodeStats
from dycoke_cli.engine.generation_state import STATE_ARGUMENT, GenerationState, ShortenedSequence
from dycoke_cli.engine.stage import Prefill, Stage
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout
from dycoke_cli.stock.private_api import cache_name

OF_LAYERS = 2 / 3
"""The first layer whose attention counts, as a share of all: the 16th of 24, counted from 0."""


class _Read(Exception):
    """Ends the pass: what is behind the last layer's attention isn't needed."""


class AttentionToFrames(Stage):
    """Reads each prompt before the method selects from it."""

    def before_prefill(self, prefill: Prefill) -> None:
        """Note the attention to each frame of each video."""
        if prefill.is_positional:
            raise UsageError(
                f"the method {prefill.method.name} with frames_by question reads the prompt twice, "
                "and the text decoder of this model gets arguments without names; use frames_by "
                "equal"
            )
        prompts = prefill.prompts
        layouts, joined = prompts.layouts[0], prompts.joined[0]
        assert joined is not None, "a prompt without a video isn't shortened"
        scored = _Scored(joined, len(prefill.decoder.layers))
        sequence = ShortenedSequence(padding=0, visual=joined.index, stats=DecodeStats())
        state = GenerationState([sequence], torch.zeros(1, 1, dtype=torch.int64), keep=None)
        state.selection = scored
        own = {STATE_ARGUMENT: state, cache_name(prefill.given): None, "use_cache": False}
        with suppress(_Read):
            prefill.decoder(**{**prefill.given, **own})
        weights = scored.of_tokens().split([len(layout.index) for layout in layouts])
        of_frames = [
            of_video.view(layout.frames, -1).mean(-1)
            for of_video, layout in zip(weights, layouts, strict=True)
        ]
        prefill.prompts = replace(prompts, frame_attention=torch.cat(of_frames))


class _Scored:
    """Collects the attention of the last token to the visual ones: see `LayerSelection`."""

    def __init__(self, layout: Layout, layers: int) -> None:
        self._visual = layout.index
        self._counted = range(int(layers * OF_LAYERS), layers)
        self._attention: list[torch.Tensor] = []

    def scores_at(self, layer: int) -> bool:
        """Whether the layer's attention counts."""
        return layer in self._counted

    def queries(self, layer: int) -> None:
        """The last token alone."""

    def keys(self, layer: int) -> torch.Tensor:
        """The visual tokens."""
        return self._visual

    def select(self, state: GenerationState, layer: int, attention: list[torch.Tensor]) -> None:
        """Keep it; no token is dropped."""
        self._attention.append(attention[0].cpu())
        if layer == self._counted[-1]:
            raise _Read

    def of_tokens(self) -> torch.Tensor:
        """`[V]`, float32: the mean over the layers."""
        return torch.stack(self._attention).mean(0)

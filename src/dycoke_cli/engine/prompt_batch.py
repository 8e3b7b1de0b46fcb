"""Prompts about videos that are already encoded: batched, padded left, and with their videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.engine.thread_hook import Arguments, before_forward
from dycoke_cli.engine.vision import Encoded
from dycoke_cli.models.families import Layout
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.families.layout import with_video


@dataclass(frozen=True)
class Preselection:
    """What was selected of a video before its prompt was made."""

    layout: Layout  # of its M visual tokens: `index` is their place in the short prompt
    kept: torch.Tensor  # `[M]`, int64: which of the video's tokens they are
    # `[M]`, int64: how many of them each stands for; None where nothing was merged
    counts: torch.Tensor | None
    # `[..., 1, R]`, int64: of its R tokens in the whole prompt, or contiguous ones
    positions: torch.Tensor
    visual: int  # V, visual tokens of the whole prompt
    length: int  # S, tokens of the whole prompt
    cap: int  # visual tokens that it may have at most


@dataclass(frozen=True)
class Prompt:
    """One prompt."""

    input_ids: torch.Tensor  # `[1, S]`, int64
    # what goes with the ids: kinds of tokens `[1, S]`, the grid that positions are made from
    extra_inputs: dict[str, torch.Tensor]
    placeholders: torch.Tensor  # `[1, S]`, bool: where the videos are
    # their embeddings, in their order; none where `extra_inputs` has pixels, which `generate()`
    # encodes
    videos: tuple[Encoded, ...]
    # where its video was selected from before; else None
    preselection: Preselection | None = None


@dataclass(frozen=True)
class Batch:
    """Prompts of equal length."""

    input_ids: torch.Tensor  # `[B, S]`, int64
    mask: torch.Tensor  # `[B, S]`, int64: 0 in the padding
    extra_inputs: dict[str, torch.Tensor]  # what goes with the ids
    placeholders: torch.Tensor  # `[B, S]`, bool
    videos: list[tuple[Encoded, ...]]  # those of each prompt that shows any
    # of the only prompt, where its video was selected from before; else None
    preselection: Preselection | None = None


def without_video(input_ids: torch.Tensor) -> Batch:
    """Prompts of text alone: `[B, S]`, int64, without padding."""
    return Batch(
        input_ids=input_ids,
        mask=torch.ones_like(input_ids),
        extra_inputs={},
        placeholders=torch.zeros_like(input_ids, dtype=torch.bool),
        videos=[],
    )


def together(prompts: Sequence[Prompt], pad: int) -> Batch:
    """A batch of prompts, in their order."""
    longest = max(prompt.input_ids.shape[1] for prompt in prompts)

    def padded(sequences: Sequence[torch.Tensor], value: int) -> torch.Tensor:
        return torch.cat(
            [torch.nn.functional.pad(s, (longest - s.shape[1], 0), value=value) for s in sequences]
        )

    # Kinds of tokens are per token and padded; grids are per video and joined.
    extra_inputs = {
        name: padded([p.extra_inputs[name] for p in prompts], 0)
        if name == TYPES
        else torch.cat([p.extra_inputs[name] for p in prompts])
        for name in prompts[0].extra_inputs
    }
    return Batch(
        input_ids=padded([p.input_ids for p in prompts], pad),
        mask=padded([torch.ones_like(p.input_ids) for p in prompts], 0),
        extra_inputs=extra_inputs,
        placeholders=padded([p.placeholders for p in prompts], 0),
        videos=[p.videos for p in prompts],
        preselection=prompts[0].preselection,
    )


@contextmanager
def inject_videos(
    model: Any, videos: Sequence[Sequence[Encoded]], is_placeholder: torch.Tensor
) -> Iterator[None]:
    """Within the block, the first prompts that the model reads have these videos.

    The call gets token ids alone, so stock code makes all that belongs to them; where the
    placeholders of a video are, its embeddings are written as the text decoder is about to read
    them.

    Args:
        model: a stock model.
        videos: those of each sequence of the batch that has any placeholder.
        is_placeholder: `[B, S]`, bool: where they are.
    """
    # Popped by the first call of the decoder, which is the prompt; later ones are decoding steps.
    pending = [is_placeholder]
    shown = [video for of_prompt in videos for video in of_prompt]

    def write(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if not pending:
            return None
        embeddings = torch.cat([video.embeddings for video in shown])
        deepstack = [torch.cat(layer) for layer in zip(*(v.deepstack for v in shown), strict=True)]
        return args, with_video(kwargs, pending.pop(), embeddings, deepstack)

    hook = before_forward(model.get_decoder(), write)
    try:
        yield
    finally:
        hook.remove()

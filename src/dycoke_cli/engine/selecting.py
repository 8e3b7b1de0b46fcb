"""Asks a method for the visual tokens of each sequence, with what it needs to choose by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.selection import Given, MergedFrames, Selection
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.tower_attention import TowerAttention, split_by_video
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts that the text decoder is about to read.

    Args:
        embeddings: `[B, S, D]`.
        layouts: where the visual tokens of each are; None for one without a video.
        stays: `[B, S]`, bool: false in the padding.
        tail: rows between the last visual token and the text behind the video.
    """

    embeddings: torch.Tensor
    layouts: Sequence[Layout | None]
    stays: torch.Tensor
    tail: int


def select(
    method: Method,
    prompts: Prompts,
    videos: Sequence[Encoded] = (),
    recorded: TowerAttention | None = None,
    merged: MergedFrames | None = None,
) -> list[Selection]:
    """A method's selection for each prompt of a batch.

    Args:
        method: which is asked for each alone.
        prompts: of the batch.
        videos: of each prompt, where they were encoded before.
        recorded: else, what the vision encoder attended to as it encoded them.
        merged: and what it left of the frames of the only video.

    Raises:
        UsageError: what was encoded isn't just these videos; several where the tower merged frames.
    """
    if videos:
        towers = [video.tower for video in videos]
        settled = [video.kept for video in videos]
        left = [video.merged for video in videos]
    else:
        towers = list(_recorded_towers(method, prompts.layouts, recorded))
        settled = [None] * len(towers)
        left = [None if layout is None else merged for layout in prompts.layouts]
        if method.merge_frames() is not None and sum(x is not None for x in prompts.layouts) > 1:
            raise UsageError(
                f"the method {method.name} takes one video at a time in generate(), whose vision "
                "encoder has the frames of all together; VideoSession takes several"
            )
    return [
        Selection(torch.arange(0))
        if layout is None
        else Selection(kept)
        if kept is not None
        else method.choose(replace(_given(method, prompts, i, layout, tower), merged=frames))
        for i, (layout, kept, tower, frames) in enumerate(
            zip(prompts.layouts, settled, towers, left, strict=True)
        )
    ]


def _recorded_towers(
    method: Method, layouts: Sequence[Layout | None], recorded: TowerAttention | None
) -> Iterator[TowerAttention | None]:
    frames = [layout.frames for layout in layouts if layout is not None]
    each = iter(split_by_video(recorded, frames) if "attention" in method.needs else ())
    for layout in layouts:
        yield None if layout is None else next(each, None)


def _given(
    method: Method, prompts: Prompts, number: int, layout: Layout, tower: TowerAttention | None
) -> Given:
    rows = prompts.embeddings[number]
    given = Given(layout.grid(rows))
    if "attention" in method.needs:
        assert tower is not None, "encoded with it, for the method needs it"
        # Of a model spread over several devices, the vision encoder may be on another one.
        attention, keys = tower.attention.to(rows.device), tower.keys.to(rows.device)
        given = replace(given, attention=attention, keys=keys)
    if "question" in method.needs:
        behind = int(layout.index[-1]) + 1 + prompts.tail
        is_text = prompts.stays[number, behind:].to(rows.device)
        given = replace(given, question=rows[behind:][is_text])
    return given

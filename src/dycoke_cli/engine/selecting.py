"""Runs a method's selection for each sequence, with the inputs that it requests."""

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

_NOTHING = Selection(torch.arange(0))
"""Of a prompt without a video."""


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts before the text decoder.

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


@torch.no_grad()
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
        return [
            _of_video(method, prompts, i, layout, videos[i])
            for i, layout in enumerate(prompts.layouts)
        ]
    if method.merge_frames() is not None and sum(x is not None for x in prompts.layouts) > 1:
        raise UsageError(
            f"the method {method.name} takes one video at a time in generate(), whose vision "
            "encoder has the frames of all together; VideoSession takes several"
        )
    towers = _recorded_towers(method, prompts.layouts, recorded)
    return [
        _NOTHING
        if layout is None
        else method.choose(_given(method, prompts, i, layout, tower, merged=merged))
        for i, (layout, tower) in enumerate(zip(prompts.layouts, towers, strict=True))
    ]


def _of_video(
    method: Method, prompts: Prompts, number: int, layout: Layout | None, video: Encoded
) -> Selection:
    if layout is None:
        return _NOTHING
    if method not in video.selections:
        given = _given(method, prompts, number, layout, video.tower, video.kept, video.merged)
        selection = method.choose(given)
        if "question" in method.needs:
            return selection
        video.selections[method] = selection
    return video.selections[method]


def _recorded_towers(
    method: Method, layouts: Sequence[Layout | None], recorded: TowerAttention | None
) -> Iterator[TowerAttention | None]:
    frames = [layout.frames for layout in layouts if layout is not None]
    each = iter(split_by_video(recorded, frames) if "attention" in method.needs else ())
    for layout in layouts:
        yield None if layout is None else next(each, None)


def _given(
    method: Method,
    prompts: Prompts,
    number: int,
    layout: Layout,
    tower: TowerAttention | None,
    encoded: torch.Tensor | None = None,
    merged: MergedFrames | None = None,
) -> Given:
    rows = prompts.embeddings[number]
    given = Given(layout.grid(rows), encoded=encoded, merged=merged)
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

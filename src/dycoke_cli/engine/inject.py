"""Puts videos that are already encoded into the prompts of a `generate()` call.

The call gets token ids alone; where the placeholders of a video stand, its rows are written as the
text decoder is about to read them. So stock code makes all that belongs to the ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dycoke_cli.engine.deepstack import DEEPSTACK, VISUAL_MASK
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.thread_hook import Arguments, before_forward


@contextmanager
def encoded(model: Any, videos: Sequence[Encoded], is_placeholder: torch.Tensor) -> Iterator[None]:
    """Within the block, the first prompts that the model reads have these videos.

    Args:
        model: a stock model.
        videos: one for each sequence of the batch that has any placeholder.
        is_placeholder: `[B, S]`, bool: where they stand.
    """
    waiting = [is_placeholder]

    def write(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        if not waiting:
            return None
        embeds = kwargs["inputs_embeds"]
        places = waiting.pop().to(embeds.device)
        embeds[places] = torch.cat([video.rows for video in videos]).to(embeds)
        if not videos[0].deepstack:
            return None
        deepstack = [torch.cat(rows) for rows in zip(*(v.deepstack for v in videos), strict=True)]
        return args, kwargs | {VISUAL_MASK: places, DEEPSTACK: deepstack}

    hook = before_forward(model.get_decoder(), write)
    try:
        yield
    finally:
        hook.remove()

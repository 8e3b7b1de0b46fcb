"""Puts a video that is already encoded into the prompt of a `generate()` call.

The call gets token ids alone; where the placeholders of the video stand, their rows are written
as the text decoder is about to read them. So stock code makes all that belongs to the ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dycoke_cli.engine.thread_hook import before_forward


@contextmanager
def encoded(
    model: Any, rows: Sequence[torch.Tensor], is_placeholder: torch.Tensor
) -> Iterator[None]:
    """Within the block, the first prompt that the model reads has these rows.

    Args:
        model: a stock model.
        rows: for each sequence of the batch `[placeholders, D]`.
        is_placeholder: `[B, S]`, bool: where they stand.
    """
    waiting = [(is_placeholder, rows)]

    def write(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if waiting:
            places, videos = waiting.pop()
            embeds = kwargs["inputs_embeds"]
            embeds[places.to(embeds.device)] = torch.cat(list(videos)).to(embeds)

    hook = before_forward(model.get_decoder(), write)
    try:
        yield
    finally:
        hook.remove()

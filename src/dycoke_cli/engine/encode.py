"""Encodes a video once: the rows that its placeholders stand for, as the language model reads them.

The seam is public and the same in every version and family: a forward pre-hook on the text
decoder, where the visual tokens already stand in `inputs_embeds`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dycoke_cli.engine.thread_hook import before_forward
from dycoke_cli.models.layouts import Family

# A frame of a real checkpoint is 3 · 384 · 384 numbers: on a CPU one at a time is fastest, an
# accelerator wants several. Smaller frames go together up to the same size.
CHUNK_NUMBERS_CPU = 3 * 384 * 384
CHUNK_NUMBERS_ACCELERATOR = 8 * CHUNK_NUMBERS_CPU


class _Reached(Exception):
    """Carries `inputs_embeds` out of a forward that has done all we want of it."""

    def __init__(self, embeds: torch.Tensor) -> None:
        super().__init__()
        self.embeds = embeds


@torch.inference_mode()
def encode_video(
    model: Any,
    family: Family,
    inputs: dict[str, torch.Tensor],
    on_frames: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Run the vision side of a model, a few frames at a time so that its memory stays flat.

    Args:
        model: a stock model.
        family: its layout, which knows how its inputs are cut into frames.
        inputs: what the processor made of one video.
        on_frames: called with (frames done, frames in all).

    Returns:
        `[R, D]`, in the model's dtype and on its device: one row a placeholder.
    """
    frames = family.frames(inputs)
    size = _chunk_frames(inputs, frames, model.device.type)
    rows = []
    for start in range(0, frames, size):
        stop = min(start + size, frames)
        chunk, keep = family.chunk(model.config, inputs, start, stop)
        rows.append(_rows_at_decoder(model, chunk)[keep])
        if on_frames is not None:
            on_frames(stop, frames)
    return torch.cat(rows)


def _chunk_frames(inputs: dict[str, torch.Tensor], frames: int, device_type: str) -> int:
    numbers = sum(tensor.numel() for tensor in inputs.values() if tensor.is_floating_point())
    budget = CHUNK_NUMBERS_CPU if device_type == "cpu" else CHUNK_NUMBERS_ACCELERATOR
    return max(1, budget * frames // numbers)


def _rows_at_decoder(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    def stop_here(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Reached(kwargs["inputs_embeds"])

    hook = before_forward(model.get_decoder(), stop_here)
    try:
        model(**{name: _on(tensor, model) for name, tensor in inputs.items()})
    except _Reached as reached:
        return reached.embeds[0]
    finally:
        hook.remove()
    raise AssertionError("the model answered without calling its text decoder")


def _on(tensor: torch.Tensor, model: Any) -> torch.Tensor:
    if tensor.is_floating_point():
        return tensor.to(model.device, model.dtype)
    return tensor.to(model.device)

"""The size at which a model reads frames, so that no larger ones are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dycoke_cli.models.families import Family
from dycoke_cli.models.prompts.prompt_frames import Length, frames_metadata
from dycoke_cli.models.prompts.stock_processor import empty_chat, run_processor
from dycoke_cli.models.prompts.stock_resize import found_resize
from dycoke_cli.video.kept_frames import Fit, FrameResize

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Clip


def fit_of(processor: Any, family: Family, config: Any) -> Fit:
    """Resize of a model's stock processor.

    Frames are kept as decoded where that takes less memory, and for families outside the table,
    whose processors run in unknown ways.
    """

    # Now, and not in the thread that reads a video while weights are loaded: while a chat template
    # runs, the memory of the whole process is limited.
    chat = "" if family.stock_inputs else empty_chat(processor)

    def fit(frames: int, height: int, width: int) -> FrameResize | None:
        if family.stock_inputs:
            return None
        frames = max(frames, family.least_frames)
        metadata = frames_metadata((height, width), [0.0] * frames, Length(1.0, 1.0))
        resize = found_resize(
            lambda video: run_processor(processor, family, config, chat, video, metadata),
            frames,
            height,
            width,
        )
        enlarges = resize is not None and np.prod(resize.size) > height * width
        return None if enlarges else resize

    return fit


def fitted(clip: Clip, fit: Fit) -> Clip:
    """A clip whose frames are as decoded, at the size that a model reads."""
    if clip.resize is not None:
        return clip
    count, height, width = clip.frames.shape[:3]
    resize = fit(count, height, width)
    if resize is None:
        return clip
    return replace(clip, frames=np.stack([*map(resize, clip.frames)]), resize=resize)

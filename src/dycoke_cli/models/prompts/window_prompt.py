"""Pixels of one window of a video, as the stock processor makes them of the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Family
from dycoke_cli.models.prompts.prompt_frames import Length, frames_metadata
from dycoke_cli.models.prompts.stock_processor import (
    empty_chat,
    processor_memory_limited,
    run_processor,
)
from dycoke_cli.models.prompts.stock_resize import OtherResizeError, as_video
from dycoke_cli.models.prompts.video_prompt import VideoPrompt
from dycoke_cli.video.frame_windows import FrameWindow
from dycoke_cli.video.kept_frames import FrameResize


def window_prompt(
    whole: VideoPrompt, family: Family, config: Any, window: FrameWindow
) -> VideoPrompt:
    """The prompt of a video with the pixels of one window, and with its number of frames."""
    frames = window.frames
    if len(frames) < family.least_frames:
        frames = np.concatenate([frames, *[frames[-1:]] * (family.least_frames - len(frames))])
    try:
        outputs = _processed(whole.processor, family, config, frames, window.resize)
    except OtherResizeError:
        # A processor that limits the pixels of a clip makes larger frames of so few. Given frames
        # of the size that they have in the whole video, it leaves them as they are.
        outputs = _processed(whole.processor, family, config, frames, None)
    inputs = {name: torch.as_tensor(outputs[name]) for name in whole.inputs}
    count = family.pixels.frames(inputs)
    ids = torch.as_tensor(outputs["input_ids"])
    placeholders = int((ids == family.token(config)).sum())
    if (placeholders - family.tail) // count != whole.tokens_per_frame:
        raise UsageError(
            "the model reads few frames of this video at another size than many, so it can't be "
            "read in windows; use fewer --frames, without --max-tokens"
        )
    return replace(whole, inputs=inputs, frames=count, placeholders=placeholders)


def _processed(
    processor: Any, family: Family, config: Any, frames: np.ndarray, resize: FrameResize | None
) -> dict[str, Any]:
    height, width = frames.shape[1:3] if resize is None else resize.source
    # Pixels don't depend on times, which are in the text of the whole prompt.
    times = [float(number) for number in range(len(frames))]
    metadata = frames_metadata((height, width), times, Length(len(frames), len(frames)))
    chat = empty_chat(processor)
    with processor_memory_limited(frames.nbytes), as_video(frames, resize) as video:
        return run_processor(processor, family, config, chat, video, metadata)

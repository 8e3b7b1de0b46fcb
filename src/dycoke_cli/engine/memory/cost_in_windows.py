"""Cost of a video that is read in windows: the memory of one window, and the pool of all."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.pool import HELD, PART
from dycoke_cli.engine.memory.cost_model import CostModel
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.video.frame_windows import WINDOW
from dycoke_cli.video.kept_frames import WINDOWS_HELD


@dataclass(frozen=True)
class ReadInWindows:
    """A video that is read in windows, and the pool of what they keep."""

    count: int  # windows
    clip: ClipTokens  # the tokens of one window, with the text of the whole prompt
    kept: int  # visual tokens that all windows keep
    cap: int  # visual tokens that are read at most

    @property
    def read(self) -> int:
        """Visual tokens that the language model reads."""
        return min(self.kept, self.cap)


def in_windows(
    answer: CostModel, method: BoundMethod, clip: ClipTokens, frames: int, max_tokens: int
) -> ReadInWindows:
    """How a video is read in windows.

    Args:
        max_tokens: visual tokens that are read at most, if the context has room for them.
    """
    length = answer.sizes.context
    room = max_tokens if length is None else length - answer.text(clip) - answer.max_new_tokens
    count = math.ceil(frames / WINDOW)
    encoded = min(clip.frames, WINDOW * clip.frames // frames)
    last = clip.frames - (count - 1) * encoded
    kept = (count - 1) * method.kept_tokens(encoded, clip.per_frame)
    kept += method.kept_tokens(last, clip.per_frame)
    cap = max(1, min(max_tokens, room))
    return ReadInWindows(count, replace(clip, frames=encoded), kept, cap)


def peak_in_windows(answer: CostModel, method: BoundMethod, video: ReadInWindows) -> int:
    """Bytes at the worst moment of loading or answering."""
    vision, window = answer.sizes.vision, video.clip
    pool = min(video.kept, HELD * video.cap) * answer.sizes.hidden * answer.facts.dtype_bytes
    waiting = window.frames * vision.patches_of_frame(window.per_frame) * vision.patch
    on_cpu = answer.target.device == "cpu"
    more = (WINDOWS_HELD - 1) * waiting if on_cpu and video.count > 1 else 0
    # As it is thinned: similarities of a part, and two copies of them while they are made.
    part = min(video.kept, HELD * video.cap, PART)
    thinning = 3 * 4 * part**2 if video.kept > video.cap else 0
    return answer.peak(method, window, video.read) + (1 + vision.stacked) * pool + thinning + more

"""Frames that a prompt is made of, and the metadata by which a processor times them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dycoke_cli.video.kept_frames import FrameResize

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Audio
    from dycoke_cli.video.subtitles import Subtitles

# Processors compute time stamps as frame number / fps. With this nominal rate, a frame number is
# its time in milliseconds, whatever the spacing of the frames.
FRAMES_PER_SECOND = 1000

_FRAME_S = 0.04


class Frames(Protocol):
    """Video that a prompt is made of, such as `dycoke_cli.video.Clip`.

    Frames may be resized already, as the processor would: then a `resize` says how.
    """

    @property
    def frames(self) -> np.ndarray:
        """`[F, H, W, 3]`, uint8, RGB."""

    @property
    def timestamps_s(self) -> tuple[float, ...]:
        """Presentation time of each frame, seconds."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user, as sentences."""

    @property
    def subtitles(self) -> Subtitles | None:
        """Subtitles that are part of the prompt."""

    @property
    def audio(self) -> Audio | None:
        """Soundtrack, for a model with an audio encoder."""


@dataclass(frozen=True)
class Length:
    """Length of a video and of the part that its frames are from."""

    duration_s: float  # of the whole video, in seconds
    part_s: float  # length of the part (`--start`, `--end`), in seconds

    @classmethod
    def of(cls, clip: Frames) -> Length:
        """That of the file, where the clip is of one; else up to the end of its last frame.

        Args:
            clip: frames, at least one, with their times; a `Clip` also knows its file.
        """
        times, info = clip.timestamps_s, getattr(clip, "info", None)
        part = getattr(clip, "part_s", None)
        known = None if info is None else info.duration_s
        # Synthetic frames, and files that don't say: the last frame lasts as long as one of a film.
        duration = times[-1] + _FRAME_S if known is None or known <= times[-1] else known
        return cls(duration, duration if part is None else max(part[1] - part[0], _FRAME_S))


@dataclass(frozen=True)
class ShownFrames:
    """Synthetic video for trials of a processor or model."""

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    subtitles: None = None
    audio: None = None
    resize: FrameResize | None = None

    @classmethod
    def blank(
        cls, frames: int, height: int, width: int, resize: FrameResize | None = None
    ) -> ShownFrames:
        """Black frames of a height and width, one per second; resized, if `resize` is given."""
        size = (height, width) if resize is None else resize.size
        times = tuple(map(float, range(frames)))
        return cls(np.zeros((frames, *size, 3), np.uint8), times, resize=resize)


def frames_metadata(
    size: tuple[int, int], times: Sequence[float], length: Length
) -> dict[str, Any]:
    """Video metadata from which processors compute time stamps, durations and rates.

    As in the families' own code, times and `duration` are those of the whole file (SmolVLM's and
    Qwen3-VL's sampling of a part keeps both), while `total_num_frames` is that of the part:
    qwen-vl-utils divides by it for the rate of the sampled frames, from which Qwen2.5-VL derives
    positions.

    Args:
        times: of each frame, in seconds from the video's first frame.
    """

    def number(seconds: float) -> int:
        return round(FRAMES_PER_SECOND * seconds)

    return {
        "total_num_frames": max(number(length.part_s), 1),
        "fps": float(FRAMES_PER_SECOND),
        "duration": number(length.duration_s) / FRAMES_PER_SECOND,
        "frames_indices": [number(time) for time in times],
        "height": size[0],
        "width": size[1],
    }

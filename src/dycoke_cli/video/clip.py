"""What is read of a video: the plan, and the frames; importing it imports no PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.video.info import VideoInfo

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.subtitles import Subtitles


@dataclass(frozen=True)
class Plan:
    """Which frames would be read, found without decoding more than the first.

    Attributes:
        times_s: wanted times in seconds from the first frame, ascending; the frames nearest to
            them are read, each once, so there may be fewer frames.
        width: of a frame as it is read, in pixels: that of `info`, or less where it is scaled.
        height: likewise.
        info: what is known of the video, its `duration_s` measured.
        warnings: one sentence each.
        memory_bytes: that reading them takes, about: the frames, and what is needed to decode them.
    """

    times_s: tuple[float, ...]
    width: int
    height: int
    info: VideoInfo
    warnings: tuple[str, ...]
    memory_bytes: int


@dataclass(frozen=True)
class Audio:
    """What is heard of a video.

    Attributes:
        samples: float32 [T] from -1 to 1, one channel.
        rate: samples per second.
    """

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Clip:
    """The frames that were read.

    Attributes:
        frames: RGB as shown, uint8 [F, H, W, 3], at least one frame.
        timestamps_s: the frames' own time stamps in seconds from the video's first frame, [F],
            ascending.
        info: what is known of the video, its `duration_s` measured.
        warnings: one sentence each.
        subtitles: the lines that are shown at these frames; None where none were asked for, or the
            video has none.
        audio: from the first moment that is sampled on; None where none was read.
    """

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    info: VideoInfo
    warnings: tuple[str, ...]
    subtitles: Subtitles | None = None
    audio: Audio | None = None

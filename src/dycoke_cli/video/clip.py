"""Results of reading a video: the plan, the frames, the audio; imports no PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.video.info import VideoInfo
from dycoke_cli.video.kept_frames import FrameResize

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.subtitles import Subtitles


@dataclass(frozen=True)
class FramePlan:
    """Frames that would be read, determined by decoding the first one only."""

    # wanted times in seconds from the first frame, ascending; the frames nearest to them are read,
    # each once, so there may be fewer frames
    times_s: tuple[float, ...]
    width: int  # of a frame as it is read, in pixels: that of `info`, or less where it is scaled
    height: int  # likewise
    info: VideoInfo  # what is known of the video, its `duration_s` measured
    warnings: tuple[str, ...]  # one sentence each
    # that reading them takes, about: the frames, and what is needed to decode them
    memory_bytes: int


@dataclass(frozen=True)
class Audio:
    """Audio of a video."""

    samples: np.ndarray  # float32 [T] from -1 to 1, mono
    rate: int  # samples per second

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Clip:
    """Frames that were read, with subtitles and audio."""

    # RGB as displayed, uint8 [F, H, W, 3], at least one frame; at the size of the plan, or as
    # `resize` left them
    frames: np.ndarray
    # presentation times of the frames in seconds from the video's first frame, [F], ascending
    timestamps_s: tuple[float, ...]
    info: VideoInfo  # metadata of the video, with a measured `duration_s`
    warnings: tuple[str, ...]  # one sentence each
    # lines that are displayed at these frames; None if not requested, or the video has none
    subtitles: Subtitles | None = None
    # from the start of the sampled part on; None if not requested, or there is none
    audio: Audio | None = None
    # start and end of the sampled part (`--start`, `--end`), in seconds from the video's first
    # frame; None for the whole video
    part_s: tuple[float, float] | None = None
    # of the model that the frames are for; None if they are as decoded
    resize: FrameResize | None = None
    # frames per window, where they were handed on in windows: then `frames` has their shape alone.
    # None for a clip that has its frames.
    window: int | None = None
    # of a live source, the parts that were skipped before this one; else None
    dropped: int | None = None

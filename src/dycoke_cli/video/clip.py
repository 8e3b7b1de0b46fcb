"""Results of reading a video: its metadata, the plan, the frames; imports no PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dycoke_cli.answer.json_schema import NOT_A_KEY

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.subtitles import Subtitles


@dataclass(frozen=True)
class FrameResize:
    """Resize of a decoded frame: one call of `torch.nn.functional.interpolate`."""

    source: tuple[int, int]  # height and width of the decoded frame
    size: tuple[int, int]  # height and width of the resized one
    mode: str  # of the interpolation, such as "bicubic"
    align_corners: bool | None  # of the interpolation
    antialias: bool  # of the interpolation
    in_float: bool  # whether it is computed in float32 and rounded; else in uint8

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Resize a frame, uint8 `[H, W, 3]`."""
        import torch
        from torch.nn.functional import interpolate

        picture = torch.from_numpy(frame).permute(2, 0, 1)[None]
        resized = interpolate(
            picture.float() if self.in_float else picture,
            self.size,
            mode=self.mode,
            align_corners=self.align_corners,
            antialias=self.antialias,
        )
        if self.in_float:
            resized = resized.round().clamp(0, 255).to(torch.uint8)
        return resized[0].permute(1, 2, 0).numpy()


@dataclass(frozen=True)
class StreamInfo:
    """A video stream of the container."""

    index: int  # its number in the container, as `--stream` takes it
    codec: str  # name of its codec
    width: int  # in pixels as stored, before turning
    height: int  # in pixels as stored, before turning
    default: bool  # whether the container marks it as the default


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Metadata of a video."""

    path: Annotated[str, NOT_A_KEY]  # the file, escaped for a terminal
    container: str  # FFmpeg's name of the container format
    stream: int  # index of the video stream that is read
    codec: str  # name of its codec
    width: int  # in pixels as shown: turned, and with square pixels
    height: int  # in pixels as shown
    rotation_deg: int = 0  # clockwise turn from stored to shown: 0, 90, 180 or 270
    mirrored: bool = False  # whether the stored picture is mirrored left-right before that turn
    pixel_aspect: float = 1.0  # width of a stored pixel over its height; 1 is square
    fps: float | None = None  # average frames per second, None where the file doesn't say
    # whether frames are unevenly spaced, None of a live source and of a file too large to be read
    variable_rate: bool | None = None
    frame_count: int | None = None  # number of frames, None of a live source
    # length in seconds, measured: the end of the last frame that is really there. None of a live
    # source; of a file too large to be read it is what the file declares.
    duration_s: float | None = None
    # time of the first frame in the file's own clock; all other times count from there
    start_s: float = 0.0
    # by which the first frame comes after the start of the file, from which players count
    lead_s: float = 0.0
    pixel_format: str  # FFmpeg's name of the stored pixel format
    bit_depth: int  # bits of a stored component
    full_range: bool  # whether stored values run from 0 to 255 rather than from 16 to 235
    matrix: str  # the matrix of the stored YUV (ITU601, ITU709, BT2020, …), guessed where untagged
    hdr: bool = False  # whether brightness is coded for HDR screens (PQ or HLG)
    # all video streams of the container, cover art left out
    video_streams: tuple[StreamInfo, ...] = ()
    audio_streams: int = 0  # number of audio streams
    subtitle_streams: int = 0  # number of subtitle streams


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
class Clip:
    """Frames that were read, with subtitles."""

    # RGB as displayed, uint8 [F, H, W, 3], at least one frame; at the size of the plan, or as
    # `resize` left them
    frames: np.ndarray
    # presentation times of the frames in seconds from the video's first frame, [F], ascending
    timestamps_s: tuple[float, ...]
    info: VideoInfo  # metadata of the video, with a measured `duration_s`
    warnings: tuple[str, ...]  # one sentence each
    # lines that are displayed at these frames; None if not requested, or the video has none
    subtitles: Subtitles | None = None
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

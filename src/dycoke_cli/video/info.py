"""Metadata of a video and its streams; imports no PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.answer.json_schema import NOT_A_KEY


@dataclass(frozen=True)
class StreamInfo:
    """A video stream of the container."""

    index: int  # its number in the container, as `--stream` takes it
    codec: str  # name of its codec
    width: int  # in pixels as stored, before turning
    height: int  # in pixels as stored, before turning
    default: bool  # whether the container marks it as the default


@dataclass(frozen=True)
class AudioInfo:
    """Audio stream that is passed to models that take audio."""

    index: int  # its number in the container
    codec: str  # name of its codec
    sample_rate: int  # samples per second, as stored
    channels: int  # how many


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video."""

    path: Annotated[str, NOT_A_KEY]  # the file, escaped for a terminal
    container: str  # FFmpeg's name of the container format
    stream: int  # index of the video stream that is read
    codec: str  # name of its codec
    width: int  # in pixels as shown: turned, and with square pixels
    height: int  # in pixels as shown
    rotation_deg: int  # clockwise turn from stored to shown: 0, 90, 180 or 270
    mirrored: bool  # whether the stored picture is mirrored left-right before that turn
    pixel_aspect: float  # width of a stored pixel over its height; 1 is square
    fps: float | None  # average frames per second, None where the file doesn't say
    # whether frames are unevenly spaced, None where that takes reading the file
    variable_rate: bool | None
    frame_count: int | None  # number of frames, None where the file doesn't say
    # length in seconds: what the file declares, None where it doesn't. In a `Clip` it is measured:
    # the end of the last frame that is really there.
    duration_s: float | None
    # time of the first frame in the file's own clock; all other times count from there
    start_s: float
    # by which the first frame comes after the start of the file, from which players count
    lead_s: float
    timecode: str | None  # SMPTE time code of the first frame, None where the file has none
    pixel_format: str  # FFmpeg's name of the stored pixel format
    bit_depth: int  # bits of a stored component
    full_range: bool  # whether stored values run from 0 to 255 rather than from 16 to 235
    matrix: str  # the matrix of the stored YUV (ITU601, ITU709, BT2020, …), guessed where untagged
    hdr: bool  # whether brightness is coded for HDR screens (PQ or HLG)
    video_streams: tuple[StreamInfo, ...]  # all video streams of the container, cover art left out
    audio_streams: int  # number of audio streams
    audio: AudioInfo | None  # the audio stream that is passed to models that take audio
    subtitle_streams: int  # number of subtitle streams

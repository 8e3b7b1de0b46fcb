"""Metadata of a video and its streams; imports no PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.answer.json_schema import NOT_A_KEY


@dataclass(frozen=True)
class StreamInfo:
    """A video stream of the container.

    Attributes:
        index: its number in the container, as `--stream` takes it.
        codec: name of its codec.
        width: in pixels as stored, before turning.
        height: in pixels as stored, before turning.
        default: whether the container marks it as the default.
    """

    index: int
    codec: str
    width: int
    height: int
    default: bool


@dataclass(frozen=True)
class AudioInfo:
    """Audio stream that is passed to models that take audio.

    Attributes:
        index: its number in the container.
        codec: name of its codec.
        sample_rate: samples per second, as stored.
        channels: how many.
    """

    index: int
    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video.

    Attributes:
        path: the file, escaped for a terminal.
        container: FFmpeg's name of the container format.
        stream: index of the video stream that is read.
        codec: name of its codec.
        width: in pixels as shown: cropped, turned, and with square pixels.
        height: in pixels as shown.
        rotation_deg: clockwise turn from stored to shown: 0, 90, 180 or 270.
        mirrored: whether the stored picture is mirrored left-right before that turn.
        pixel_aspect: width of a stored pixel over its height; 1 is square.
        fps: average frames per second, None where the file doesn't say.
        variable_rate: whether frames are unevenly spaced, None where that takes reading the file.
        frame_count: number of frames, None where the file doesn't say.
        duration_s: length in seconds: what the file declares, None where it doesn't. In a `Clip`
            it is measured: the end of the last frame that is really there.
        start_s: time of the first frame in the file's own clock; all other times count from there.
        pixel_format: FFmpeg's name of the stored pixel format.
        bit_depth: bits of a stored component.
        full_range: whether stored values run from 0 to 255 rather than from 16 to 235.
        matrix: the matrix of the stored YUV (ITU601, ITU709, BT2020, …), guessed where untagged.
        hdr: whether brightness is coded for HDR screens (PQ or HLG).
        video_streams: all video streams of the container, cover art left out.
        audio_streams: number of audio streams.
        audio: the audio stream that is passed to models that take audio.
        subtitle_streams: number of subtitle streams.
    """

    path: Annotated[str, NOT_A_KEY]
    container: str
    stream: int
    codec: str
    width: int
    height: int
    rotation_deg: int
    mirrored: bool
    pixel_aspect: float
    fps: float | None
    variable_rate: bool | None
    frame_count: int | None
    duration_s: float | None
    start_s: float
    pixel_format: str
    bit_depth: int
    full_range: bool
    matrix: str
    hdr: bool
    video_streams: tuple[StreamInfo, ...]
    audio_streams: int
    audio: AudioInfo | None
    subtitle_streams: int

"""Video metadata: the container's, and that of the first decoded frame."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import av

from dycoke_cli.errors import VideoError
from dycoke_cli.video import limits
from dycoke_cli.video.color import Geometry, geometry_of, is_full_range, is_hdr, matrix_name
from dycoke_cli.video.containers import video_streams
from dycoke_cli.video.info import AudioInfo, StreamInfo, VideoInfo
from dycoke_cli.video.limits import check_size
from dycoke_cli.video.source import VideoSource, open_video

# Enough to see whether the rate varies; the index of a day-long video has millions.
_INDEX_ENTRIES = 1000


def probe(
    path: str | os.PathLike[str], stream: int | None = None, *, shown_as: str | None = None
) -> VideoInfo:
    """Describe a video; decodes its first picture only.

    Args:
        path: the file.
        stream: index of the video stream in its container; None for the best.
        shown_as: what to call the file in errors; its escaped path if None.

    Raises:
        VideoError: there is no file, no video in it, or no picture that can be decoded.
        UsageError: `stream` isn't the index of a video stream.
    """
    with open_video(path, stream, shown_as) as source:
        return describe(source)[0]


def describe(source: VideoSource) -> tuple[VideoInfo, Geometry]:
    """Describe an open video, and how its pictures are read; sets the source's `origin`.

    Raises:
        VideoError: no picture can be decoded, or pictures are too large.
    """
    first = source.first_picture()
    if first is None:
        raise VideoError(
            f"{source.name} has a video stream, but not one picture in it can be decoded: "
            "is the file cut off?"
        )
    frame, stream = first.frame, source.stream
    geometry = geometry_of(frame, stream)
    width, height = geometry.shown_size
    check_size(source.name, width, height)
    streams = source.container.streams
    info = VideoInfo(
        path=source.name,
        container=source.container.format.name,
        stream=stream.index,
        codec=stream.codec_context.name,
        width=width,
        height=height,
        rotation_deg=geometry.orientation.rotation_deg,
        mirrored=geometry.orientation.mirrored,
        pixel_aspect=geometry.pixel_aspect,
        fps=float(stream.average_rate) if stream.average_rate else None,
        variable_rate=_varies(stream),
        frame_count=stream.frames or None,
        duration_s=_declared_duration(source),
        start_s=float(source.origin),
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        full_range=is_full_range(frame),
        matrix=matrix_name(frame),
        hdr=is_hdr(frame),
        video_streams=tuple(_stream_info(one) for one in video_streams(source.container)),
        audio_streams=len(streams.audio),
        audio=_audio_info(streams.best("audio")),
        subtitle_streams=len(streams.subtitles),
    )
    return info, geometry.within(limits.MAX_KEPT_PIXELS)


def _varies(stream: av.VideoStream) -> bool | None:
    # Only an index that has every frame tells; that of a webm has its keyframes.
    index = getattr(stream, "index_entries", None)
    if index is None or len(index) < 3 or len(index) != stream.frames:
        return None
    times = [entry.timestamp for entry in index[:_INDEX_ENTRIES]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # Rounding to the stream's ticks moves a time stamp by one, and a steady camera has some jitter.
    return max(gaps) - min(gaps) > max(2, 0.05 * sum(gaps) / len(gaps))


def _declared_duration(source: VideoSource) -> float | None:
    stream, container = source.stream, source.container
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _audio_info(stream: Any) -> AudioInfo | None:
    context = None if stream is None else stream.codec_context
    if context is None:  # none, or of a codec that FFmpeg doesn't know
        return None
    return AudioInfo(stream.index, context.name, context.sample_rate, context.channels)


def _stream_info(stream: av.VideoStream) -> StreamInfo:
    context = stream.codec_context
    return StreamInfo(
        index=stream.index,
        codec=context.name if context else "unknown",
        width=context.width if context else 0,
        height=context.height if context else 0,
        default=bool(stream.disposition & av.stream.Disposition.default),
    )

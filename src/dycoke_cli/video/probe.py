"""Reading of video metadata, from the container and the first decoded frame."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import av

from dycoke_cli.errors import VideoError
from dycoke_cli.video import limits
from dycoke_cli.video.color import Geometry, geometry_of, is_full_range, is_hdr, matrix_name
from dycoke_cli.video.containers import best_audio, video_streams
from dycoke_cli.video.info import AudioInfo, StreamInfo, VideoInfo
from dycoke_cli.video.limits import check_size
from dycoke_cli.video.source import VideoSource, open_video

# Index entries that are compared to detect a variable rate; a day-long video has millions.
_INDEX_ENTRIES = 1000


def probe(
    path: str | os.PathLike[str], stream: int | None = None, *, shown_as: str | None = None
) -> VideoInfo:
    """Read the metadata of a video; decodes only its first frame.

    Args:
        stream: index of the video stream in its container; None for the best.
        shown_as: name for errors; None for the escaped path.
    """
    with open_video(path, stream, shown_as) as source:
        return describe(source)[0]


def describe(source: VideoSource) -> tuple[VideoInfo, Geometry]:
    """Read the metadata of an open video and the geometry of its frames; sets `origin`."""
    first = source.first_picture()
    if first is None:
        raise VideoError(
            f"{source.name} has a video stream, but not one picture in it can be decoded: "
            "is the file cut off?"
        )
    frame, stream = first.frame, source.stream
    geometry = geometry_of(frame, stream, source.header)
    width, height = geometry.shown_size
    check_size(source.name, width, height)
    streams = source.container.streams
    # Of a picture in tiles, each is a stream.
    tiled = source.header.grid is not None
    videos = [stream] if tiled else video_streams(source.container)
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
        fps=None if source.rate.declared is None else float(source.rate.declared),
        variable_rate=_varies(stream),
        frame_count=stream.frames or None,
        duration_s=_declared_duration(source),
        start_s=float(source.origin),
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        full_range=is_full_range(frame),
        matrix=matrix_name(frame),
        hdr=is_hdr(frame),
        video_streams=tuple(map(_stream_info, videos)),
        audio_streams=len(streams.audio),
        audio=_audio_info(best_audio(source.container)),
        subtitle_streams=len(streams.subtitles),
    )
    return info, geometry.within(limits.MAX_KEPT_PIXELS)


def _varies(stream: av.VideoStream) -> bool | None:
    # Only an index with all frames is evidence; WebM's has keyframes only.
    index = getattr(stream, "index_entries", None)
    if index is None or len(index) < 3 or len(index) != stream.frames:
        return None
    times = [entry.timestamp for entry in index[:_INDEX_ENTRIES]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # Rounding to ticks changes a gap by up to two, and a constant-rate camera has some jitter.
    return max(gaps) - min(gaps) > max(2, 0.05 * sum(gaps) / len(gaps))


def _declared_duration(source: VideoSource) -> float | None:
    stream, container = source.stream, source.container
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _audio_info(stream: Any) -> AudioInfo | None:
    context = None if stream is None else stream.codec_context
    if context is None:  # no stream, or a codec unknown to FFmpeg
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

"""Metadata of a video and the frames to read, from packets: only the first frame is decoded.

The duration is measured, because containers may declare a wrong one or none, and truncated files
declare their original one. For that, packets near the declared end are read, or all of them if
seeking there fails. Files without an index are read in full (`source.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av

from dycoke_cli.errors import VideoError
from dycoke_cli.video import limits
from dycoke_cli.video.clip import FramePlan
from dycoke_cli.video.color import Geometry, geometry_of, is_full_range, is_hdr, matrix_name
from dycoke_cli.video.containers import best_audio, other_streams, video_streams
from dycoke_cli.video.gaps import planned_times
from dycoke_cli.video.info import AudioInfo, StreamInfo, VideoInfo
from dycoke_cli.video.limits import check_size, picture_size
from dycoke_cli.video.sampling import MAX_WANTED, Sampling, Seconds, Window, window
from dycoke_cli.video.source import VideoSource, index_of, open_video

# Reading of video metadata, from the container and the first decoded frame.


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
        lead_s=_lead_s(source),
        timecode=_timecode(source),
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


def _lead_s(source: VideoSource) -> float:
    """Seconds from the start of the file, which may be that of its audio, to the first frame."""
    start = source.container.start_time
    return 0.0 if start is None else max(0.0, float(source.origin - Fraction(start, av.time_base)))


def _timecode(source: VideoSource) -> str | None:
    """The time code that the stream, the file, or a stream for time codes is tagged with."""
    of_codes = (one for one in source.container.streams if one.type == "data")
    tagged: Any
    for tagged in (source.stream, source.container, *of_codes):
        # Matroska's tags are in capitals.
        tags = {name.lower(): value for name, value in tagged.metadata.items()}
        if code := tags.get("timecode"):
            return code
    return None


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


# Slack when declared and measured ends are compared: a container's duration is rounded, and its
# streams end at different times.
_TOLERANCE_S = Fraction(3, 10)
# Formats whose packets reach to the end of the file, and how much of it may be padding.
_PACKETS_TO_THE_END = ("mpegts", "flv", "matroska,webm")
_PADDING, _PADDING_BYTES = 0.1, 1024
_DURATION_TAG = re.compile(r"(\d\d+):(\d\d):(\d\d\.\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Duration:
    """Measured end of a video, in seconds from its first frame."""

    last_s: Fraction  # time of the last frame
    end_s: Fraction  # time at which the last frame ends
    frames: int | None  # number of frames; None if not all packets were read
    # end that the container declares, if the file is truncated well before it; otherwise None
    declared_end_s: Fraction | None
    is_partial: bool = False  # whether the file goes on after its last readable packet


@dataclass(frozen=True)
class _Extent:
    """Number of frames among some packets, and the last times of the video and of any stream."""

    frames: int
    last: Fraction
    end: Fraction
    end_of_any: Fraction


@dataclass(frozen=True)
class Planned:
    """Plan of an open video, with what is needed to read its frames."""

    plan: FramePlan  # for the user
    geometry: Geometry  # of a frame
    part: Window  # sampled part of the video
    times: tuple[Seconds, ...]  # those of the plan, exact


def plan_of(source: VideoSource, sampling: Sampling, *, fitted: bool = False) -> Planned:
    """Plan the frames of an open video."""
    info, geometry = describe(source)
    if sampling.max_pixels is not None:
        geometry = geometry.within(sampling.max_pixels)
    # More precise than before `describe`, which has decoded the first frame: now the pixel format
    # is known.
    decoding_bytes = source.decoding_bytes
    width, height = geometry.shown_size
    duration = measure_duration(source)
    part = window(sampling, duration.last_s, duration.end_s, source.interval)
    most = MAX_WANTED if fitted else limits.MAX_CLIP_BYTES // (3 * width * height)
    times, said = planned_times(source, sampling, part, most)
    if not fitted:
        limits.check_clip(source.name, geometry.shown_size, len(times), sampling.fps is not None)
    warnings = [*said, *_other_streams(source, sampling)]
    if duration.frames != 1 and (of_rate := source.rate.warning(source.name)) is not None:
        warnings.append(of_rate)
    if source.header.is_hidden:
        warnings.append(
            f"{source.name} has an edit list that can't be followed (its duration is 0, its time "
            "is negative, or it shows nothing): it was read without the list"
        )
    if duration.declared_end_s is not None:
        ends = f"{float(duration.end_s):.1f} s of {float(duration.declared_end_s):.1f} s"
        warnings.append(
            f"{source.name} ends at {ends}: it is cut off, and only what is there was used"
        )
    if duration.is_partial:
        warnings.append(
            f"{source.name} has more after its first {float(duration.end_s):.1f} s, which FFmpeg "
            "can't read from there: it seems to be joined from several files, and only the first "
            "was used; name each of them, or join them with ffmpeg -f concat"
        )
    if info.hdr:
        warnings.append(
            f"{source.name} is an HDR video: its colours are not tone-mapped and look paler than "
            "on a screen"
        )
    if sampling.max_pixels is None and (width, height) != (info.width, info.height):
        warnings.append(
            f"{source.name} has pictures of {picture_size((info.width, info.height))}: they are "
            f"scaled down to {picture_size((width, height))}"
        )
    info = replace(
        info,
        duration_s=float(duration.end_s),
        frame_count=duration.frames or info.frame_count,
        start_s=float(source.origin),
    )
    memory_bytes = len(times) * width * height * 3 + decoding_bytes
    plan = FramePlan(tuple(map(float, times)), width, height, info, tuple(warnings), memory_bytes)
    return Planned(plan, geometry, part, times)


def _other_streams(source: VideoSource, sampling: Sampling) -> list[str]:
    others = other_streams(source.container, source.stream, source.header)
    if sampling.stream is not None or not others:
        return []
    indices = " or ".join(str(one.index) for one in others)
    return [
        f"{source.name} has {len(others) + 1} video streams, and stream {source.stream.index} is "
        f"read: for another set --stream {indices}"
    ]


def measure_duration(source: VideoSource) -> Duration:
    """Measure the duration of an open, described video; afterwards `rewind` the source.

    A file without an index of its own gets one, and the source uses its clock from then on.
    """
    if source.needs_index:
        return _indexed(source)
    declared = _declared_end(source)
    extent, counted = None, False
    if declared is not None and source.seekable and source.seek(float(declared)) is not None:
        extent = _extent(source, source.demux(*source.container.streams))
    # A truncated file has no packets near its declared end. A subtitle that is displayed until then
    # has its packet well before.
    is_short = extent is None or extent.frames == 0
    if extent is not None and declared is not None and _may_end_with_line(source):
        is_short |= declared - extent.end_of_any > _TOLERANCE_S
    if extent is None or is_short:
        source.rewind()
        extent, counted = _extent(source, source.demux(*source.container.streams)), True
    return Duration(
        last_s=extent.last,
        end_s=extent.end,
        frames=extent.frames if counted else None,
        declared_end_s=_truncated(source, declared, extent.end_of_any),
        is_partial=source.layout.hidden_films > 0,
    )


def _indexed(source: VideoSource) -> Duration:
    index = index_of(source)
    source.use(index)
    # Where time stamps begin again, the declared duration is that of one part, or includes a jump.
    declared = None if index.clock.restarts else _declared_end(source)
    unread = source.layout.size - index.last_byte
    return Duration(
        last_s=index.last_s - source.origin,
        end_s=index.end_s - source.origin,
        frames=index.frames,
        declared_end_s=_truncated(source, declared, index.end_of_any_s - source.origin),
        is_partial=source.container.format.name in _PACKETS_TO_THE_END
        and unread > max(_PADDING * source.layout.size, _PADDING_BYTES),
    )


def _truncated(source: VideoSource, declared: Fraction | None, end: Fraction) -> Fraction | None:
    """The declared end of a file that is truncated well before it; otherwise None."""
    # Compared with the end of any stream: audio may be longer than the video of an intact file.
    if declared is None or declared - end <= max(_TOLERANCE_S, 2 * source.interval):
        return None
    return declared


def _declared_end(source: VideoSource) -> Fraction | None:
    container = source.container
    if not container.duration:
        return None
    # The declared duration of Matroska counts from time 0, of all others from the first time stamp.
    start = 0 if "matroska" in container.format.name else container.start_time or 0
    end = Fraction(start + container.duration, av.time_base)
    if container.streams.subtitles and not _may_end_with_line(source):
        ends = [_end_of(stream) for stream in _timed_streams(source)]
        end = min(end, max(one for one in ends if one is not None))
    return end - source.origin


def _may_end_with_line(source: VideoSource) -> bool:
    """Whether the declared end may be that of a subtitle, which may be displayed longer.

    It isn't known for streams of Matroska that don't declare their own ends.
    """
    has_lines = bool(source.container.streams.subtitles)
    return has_lines and None in [_end_of(stream) for stream in _timed_streams(source)]


def _timed_streams(source: VideoSource) -> list[av.stream.Stream]:
    return [one for one in source.container.streams if one.type in ("video", "audio")]


def _end_of(stream: av.stream.Stream) -> Fraction | None:
    """Declared end of a stream by the file's clock, in seconds; None if there is none."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    # A tag of Matroska: 00:00:12.500000000
    match = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)


def _extent(source: VideoSource, packets: Iterable[av.Packet]) -> _Extent:
    frames, last, end, end_of_any = 0, Fraction(0), Fraction(0), Fraction(0)
    previous: Fraction | None = None
    with_lines = _may_end_with_line(source)
    for packet in packets:
        if packet.is_discard:
            continue
        time = source.packet_time(packet)
        length = (packet.duration or 0) * (packet.time_base or Fraction(0))
        if packet.stream_index == source.stream.index:
            if time is None:  # raw streams have no time stamps: frames follow at the usual interval
                time = Fraction(0) if previous is None else previous + source.interval
            frames, previous = frames + 1, time
            if source.most_pictures is not None and frames > source.most_pictures:
                raise VideoError(
                    f"{source.name} has more than {source.most_pictures:,} pictures: convert it to "
                    "MP4, in which each of them can be found"
                )
            last = max(last, time)
            end = max(end, time + (length or source.interval))
        if time is not None and (with_lines or packet.stream.type != "subtitle"):
            end_of_any = max(end_of_any, time + length)
    return _Extent(frames, last, end, max(end, end_of_any))

"""Metadata of a video and the frames to read, from packets: only the first frame is decoded.

The duration and the frames that there are follow from an index of all packets (`frame_index`),
because containers may declare a wrong number or none, and truncated files their original one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np

from dycoke_cli.errors import VideoError
from dycoke_cli.video import limits
from dycoke_cli.video.clip import FramePlan, StreamInfo, VideoInfo
from dycoke_cli.video.color import Geometry, geometry_of, is_hdr
from dycoke_cli.video.containers import video_streams
from dycoke_cli.video.frame_index import FrameIndex
from dycoke_cli.video.limits import check_size
from dycoke_cli.video.sampling import (
    MAX_WANTED,
    Sampling,
    Seconds,
    Window,
    evenly_spaced,
    exact,
    steps,
    thinned,
    wanted_times,
    window,
)
from dycoke_cli.video.source import VideoSource

# Wanted times of videos with gaps, in which evenly spaced times would find too few frames.
#
# Motion-triggered cameras and screen recorders write no frames while nothing changes. Several
# evenly spaced times in such a gap have the same nearest frame.


@dataclass(frozen=True)
class FrameTimes:
    """Times of all frames in a part of a video."""

    ticks: np.ndarray  # int64 [T], ascending, each once
    unit: Fraction  # of a tick, in seconds

    def at(self, frames: Sequence[int]) -> tuple[Fraction, ...]:
        """Times of the frames with these indices, in seconds."""
        return tuple(int(self.ticks[frame]) * self.unit for frame in frames)

    def within(self, part: Window) -> FrameTimes:
        """The times that are in a part of the video."""
        first, end = (math.ceil(Fraction(time) / self.unit) for time in (part.first_s, part.end_s))
        begin, behind = np.searchsorted(self.ticks, [first, end])
        return FrameTimes(self.ticks[begin:behind], self.unit)

    def nearest(self, first_s: Seconds, rate: Seconds, count: int) -> list[int]:
        """Indices of the frames that are nearest to `count` times from `first_s` on.

        Args:
            rate: wanted times per second.
        """
        # A frame is chosen if a wanted time lies between the middles before and behind it. The
        # last wanted time up to the middle of ticks a and b is number ((a + b)·scale - start) // 1.
        scale, start = Fraction(rate) * self.unit / 2, Fraction(first_s) * Fraction(rate)
        common = math.lcm(scale.denominator, start.denominator)
        scale_by, start_by = int(scale * common), int(start * common)
        inner = ((a + b) * scale_by - start_by for a, b in pairwise(self.ticks.tolist()))
        upto = (min(max(time // common, -1), count - 1) for time in inner)
        places = pairwise((-1, *upto, count - 1))
        return [frame for frame, (before, last) in enumerate(places) if last > before]


def planned_times(
    there: FrameTimes, sampling: Sampling, part: Window, name: str
) -> tuple[tuple[Seconds, ...], tuple[str, ...]]:
    """Wanted times of the frames in a part of a video, and warnings.

    Without gaps they are those of `wanted_times`; if there are no more frames than wanted, those
    of all frames.

    Args:
        there: the frames of the part.
        name: of the video.
    """
    if sampling.fps is None:
        return _spread(there, part, sampling.frames, name)
    count = steps(sampling.fps, part)
    allowed = min(sampling.max_frames or MAX_WANTED, MAX_WANTED)
    found = there.nearest(part.first_s, exact(sampling.fps), count) if len(there.ticks) else []
    if 0 < len(found) < count and len(found) <= allowed:
        return there.at(found), ()
    if sampling.max_frames is not None and len(found) > allowed:
        times, warnings = _spread(there, part, sampling.max_frames, name)
        return times, (thinned(sampling, len(found)), *warnings)
    wanted, warning = wanted_times(sampling, part)
    return wanted, (warning,) if warning else ()


def _spread(
    there: FrameTimes, part: Window, count: int, name: str
) -> tuple[tuple[Seconds, ...], tuple[str, ...]]:
    """`count` times, evenly spaced as far as there are frames, and a warning if that isn't far."""
    wanted = evenly_spaced(part, count)
    if 0 < len(there.ticks) <= count:
        return there.at(range(len(there.ticks))), ()
    if count == 1 or not len(there.ticks):
        return wanted, ()
    kept = there.nearest(wanted[0], 1 / Fraction(wanted[1] - wanted[0]), count)
    if len(kept) == count:
        return wanted, ()
    gap = float(int(np.diff(there.ticks).max()) * there.unit)
    last = len(there.ticks) - 1
    return there.at([round(Fraction(step * last, count - 1)) for step in range(count)]), (
        f"{name} has up to {gap:.1f} s without a frame: the {count} frames are spread evenly over "
        "its frames instead of its time",
    )


# Reading of video metadata, from the container and the first decoded frame.


def describe(source: VideoSource) -> tuple[VideoInfo, Geometry]:
    """Read the metadata of an open video and the geometry of its frames; sets `origin`.

    What only an index shows isn't known yet.
    """
    first = source.first_picture()
    if first is None:
        raise VideoError(
            f"{source.name} has a video stream, but not one picture in it can be decoded: "
            f"is it above the limit of {source.most_pixels / 1e6:.3g} megapixels, is the file cut "
            "off, or does an edit list hide it (`ffmpeg -ignore_editlist 1 -i clip.mp4 -c copy "
            "shown.mp4`)?"
        )
    frame, stream = first.frame, source.stream
    geometry = geometry_of(frame, stream)
    width, height = geometry.shown_size
    check_size(source.name, width, height)
    streams = source.container.streams
    videos = video_streams(source.container)
    info = VideoInfo(
        path=source.name,
        container=source.container.format.name,
        stream=stream.index,
        codec=stream.codec_context.name,
        width=width,
        height=height,
        fps=None if source.rate is None else float(source.rate),
        start_s=float(source.origin),
        lead_s=float(-source.starts_s),
        hdr=is_hdr(frame),
        video_streams=tuple(map(_stream_info, videos)),
        audio_streams=len(streams.audio),
        subtitle_streams=len(streams.subtitles),
    )
    return info, geometry.within(limits.MAX_KEPT_PIXELS)


def _stream_info(stream: av.VideoStream) -> StreamInfo:
    context, default = stream.codec_context, stream.disposition & av.stream.Disposition.default
    known = (context.name, context.width, context.height) if context else ("unknown", 0, 0)
    return StreamInfo(stream.index, *known, bool(default))


# Slack when declared and measured ends are compared: a container's duration is rounded, and its
# streams end at different times.
_TOLERANCE_S = Fraction(3, 10)


def plan_of(
    source: VideoSource, sampling: Sampling
) -> tuple[FramePlan, Geometry, Window, tuple[Seconds, ...]]:
    """Plan the frames of an open video: with their geometry, the sampled part, the exact times."""
    info, geometry = describe(source)
    index = source.read_index()
    source.use(index)
    last_s, end_s = index.last_s - source.packet_origin, index.end_s - source.packet_origin
    part = window(sampling, last_s, end_s, source.interval)
    there = FrameTimes(*index.times(source.packet_origin))
    times, said = planned_times(there.within(part), sampling, part, source.name)
    warnings = [*said]
    if (declared_s := _declared_end_if_cut(source, index)) is not None:
        ends = f"{float(end_s):.1f} s of {float(declared_s):.1f} s"
        warnings.append(
            f"{source.name} ends at {ends}: it is cut off, and only what is there was used"
        )
    if info.hdr:
        warnings.append(
            f"{source.name} is an HDR video: its colours are not tone-mapped and look paler than "
            "on a screen"
        )
    info = replace(
        info,
        duration_s=float(end_s),
        frame_count=index.frames,
        variable_rate=index.has_uneven_frames,
        start_s=float(source.origin),
    )
    plan = FramePlan(tuple(map(float, times)), *geometry.shown_size, info, tuple(warnings))
    return plan, geometry, part, times


def _declared_end_if_cut(source: VideoSource, index: FrameIndex) -> Fraction | None:
    """The declared end of a file that ends well before it; else None."""
    container = source.container
    if not container.duration:
        return None
    # The declared duration of Matroska counts from time 0, of all others from the first time stamp.
    start = 0 if "matroska" in container.format.name else container.start_time or 0
    end = Fraction(start + container.duration, av.time_base)
    # Compared with the end of any stream: audio may be longer than the video of an intact file.
    is_cut = end - index.end_of_any_s > max(_TOLERANCE_S, 2 * source.interval)
    return end - source.packet_origin if is_cut else None

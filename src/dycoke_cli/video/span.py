"""Where a video really ends. Containers declare a length, or none, and cut-off files lie about it.

Reads packets without decoding them: those near the declared end, or all of them when that fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av

from dycoke_cli.video.source import VideoSource

# A container's length is rounded, and its streams needn't end together.
_TOLERANCE_S = Fraction(3, 10)


@dataclass(frozen=True)
class Span:
    """The extent of a video, in seconds from its first frame.

    Attributes:
        last_s: time of the last frame.
        end_s: time at which the last frame ends.
        frames: number of frames, None where they weren't counted.
        declared_end_s: the end that the container declares, when the file stops well before it
            (it is cut off); otherwise None.
    """

    last_s: float
    end_s: float
    frames: int | None
    declared_end_s: float | None


@dataclass(frozen=True)
class _Extent:
    frames: int
    last: Fraction
    end: Fraction
    end_of_any: Fraction


def measure_span(source: VideoSource) -> Span:
    """Find the end of an open, described video. Leaves the source somewhere else: `rewind` it."""
    declared = _declared_end(source)
    extent, counted = None, False
    if declared is not None and source.seekable and source.seek(float(declared)) is not None:
        extent = _extent(source, source.demux(every_stream=True))
    if extent is None or extent.frames == 0:
        source.rewind()
        extent, counted = _extent(source, source.demux(every_stream=True)), True
    short = (
        declared is not None
        and declared - extent.end_of_any > max(_TOLERANCE_S, 2 * source.interval)
    )  # fmt: skip
    return Span(
        last_s=float(extent.last),
        end_s=float(extent.end),
        frames=extent.frames if counted else None,
        declared_end_s=float(declared) if declared is not None and short else None,
    )


def times_between(
    source: VideoSource, first_s: float, end_s: float, most: int
) -> tuple[float, ...] | None:
    """Times of all frames in [first_s, end_s), ascending, or None if there are more than `most`.

    Reads no more than `most` of their packets, and decodes none. Leaves the source somewhere else.
    """
    if first_s <= 0 or not source.seekable or source.seek(first_s) is None:
        source.rewind()
    times: list[float] = []
    for packet in source.demux():
        time = source.packet_time(packet)
        if time is None or len(times) > most:
            return None  # no time stamps to count by, or too many
        if packet.dts is not None and packet.dts * packet.time_base - source.origin >= end_s:
            break
        if not packet.is_discard and first_s <= time < end_s:
            times.append(float(time))
    return tuple(sorted(times)) if 0 < len(times) <= most else None


def _declared_end(source: VideoSource) -> Fraction | None:
    container = source.container
    if not container.duration:
        return None
    # Matroska's writers count from time 0, all others from the first time stamp.
    start = 0 if "matroska" in container.format.name else container.start_time or 0
    return Fraction(start + container.duration, av.time_base) - source.origin


def _extent(source: VideoSource, packets: Iterable[av.Packet]) -> _Extent:
    frames, last, end, end_of_any = 0, Fraction(0), Fraction(0), Fraction(0)
    previous: Fraction | None = None
    for packet in packets:
        if packet.is_discard:
            continue
        time = source.packet_time(packet)
        length = (packet.duration or 0) * (packet.time_base or Fraction(0))
        if packet.stream_index == source.stream.index:
            if time is None:  # a raw stream: one frame after the other at the usual interval
                time = Fraction(0) if previous is None else previous + source.interval
            frames, previous = frames + 1, time
            last = max(last, time)
            end = max(end, time + (length or source.interval))
        if time is not None:
            end_of_any = max(end_of_any, time + length)
    return _Extent(frames, last, end, max(end, end_of_any))

"""Wanted times of videos with gaps, in which evenly spaced times would find too few frames.

Motion-triggered cameras and screen recorders write no frames while nothing changes. Several evenly
spaced times in such a gap have the same nearest frame. So the remaining frames are spread over the
time that has frames.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dycoke_cli.video.packet_source import PacketSource
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
)

# Gaps between wanted times up to this are read through, which is as fast as a seek.
_SHORT_GAP_S = 0.5
# Times that are checked for gaps, if a rate alone says which are wanted.
_CHECKED = 1000
# Sums of ticks stay within 64 bits.
_MAX_TICKS = 2**60


@dataclass(frozen=True)
class FrameTimes:
    """Times of all frames in a part of a video."""

    ticks: np.ndarray  # int64 [T], ascending, each once
    unit: Fraction  # of a tick, in seconds

    def at(self, frames: Sequence[int]) -> tuple[Fraction, ...]:
        """Times of the frames with these indices, in seconds."""
        return tuple(int(self.ticks[frame]) * self.unit for frame in frames)

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
        found, before = [], -1
        times = self.ticks.tolist()
        for frame, time in enumerate(times):
            if frame + 1 < len(times):
                upto = ((time + times[frame + 1]) * scale_by - start_by) // common
                upto = min(max(upto, before), count - 1)
            else:
                upto = count - 1
            if upto > before:
                found.append(frame)
            before = upto
        return found

    def filled(self, kept: Sequence[int], count: int) -> list[int]:
        """Indices of `count` frames: those kept, and others spread over the time that has frames.

        Each other frame stands for the time around it, halfway to the neighbouring frames. That is
        limited to an equal share of the total, so that no gap counts more than a frame.

        Args:
            count: number of frames to choose; at most T.
        """
        missing = count - len(kept)
        others = np.delete(np.arange(len(self.ticks)), kept)
        ends = np.pad(self.ticks, 1, mode="edge")
        around = np.maximum(ends[2:] - ends[:-2], 1)[others]
        limit = _equal_share(around, missing)
        upto = np.cumsum(np.minimum(around, limit))
        total = int(upto[-1])
        middles = [(2 * part + 1) * total // (2 * missing) for part in range(missing)]
        added = others[np.searchsorted(upto, middles, side="right")]
        return sorted({*kept, *added.tolist()})


def _equal_share(weights: np.ndarray, parts: int) -> int:
    """Largest limit of integer weights [T] that is at most the limited weights' sum over `parts`.

    Then `parts` evenly spaced points of the cumulative sum fall on different weights.
    """
    low, high = 1, int(weights.max())
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(weights, middle).sum()) >= middle * parts:
            low = middle
        else:
            high = middle - 1
    return low


def planned_times(
    source: PacketSource, sampling: Sampling, part: Window, most: int
) -> tuple[tuple[Seconds, ...], tuple[str, ...]]:
    """Wanted times of the frames in a part of a video, and warnings.

    Without gaps they are those of `wanted_times`; if there are no more frames than wanted, those
    of all frames. Reads packets, and decodes none; the position of the source changes.
    """
    if sampling.fps is None:
        # Evenly spaced times would miss some of few frames, where a variable rate puts them close
        # together.
        few = frame_times(source, part, sampling.frames)
        if few is not None:
            return few, ()
        return _without_gaps(source, evenly_spaced(part, sampling.frames), part)
    count = steps(sampling.fps, part)
    allowed = min(sampling.max_frames or MAX_WANTED, MAX_WANTED)
    if count > min(allowed, most):
        # There may be fewer frames than times.
        times = _frames_in_gaps(source, evenly_spaced(part, sampling.max_frames or _CHECKED), part)
        if times is not None:
            found = times.nearest(part.first_s, exact(sampling.fps), count)
            if len(found) <= allowed:
                return times.at(found), ()
            if sampling.max_frames is not None:
                spread, warnings = _filled(source, times, part, sampling.max_frames)
                return spread, (thinned(sampling, len(found)), *warnings)
    wanted, warning = wanted_times(sampling, part)
    return wanted, (warning,) if warning else ()


def frame_times(source: PacketSource, part: Window, most: int) -> tuple[Fraction, ...] | None:
    """Times of all frames of a part, ascending; None if there are more than `most`.

    Reads about `most` packets, and decodes none. The position of the source changes.
    """
    times: list[Fraction] = []
    for time in _times_in(source, part):
        if time is None or len(times) == most:
            return None  # no time stamps, or too many frames
        times.append(time)
    return tuple(sorted(times)) or None


def _times_in(source: PacketSource, part: Window) -> Iterator[Fraction | None]:
    """Times of the frames of a part in decoding order; None for a frame without a time stamp."""
    if part.first_s <= 0 or not source.seekable or source.seek(float(part.first_s)) is None:
        source.rewind()
    for packet in source.packets():
        time = source.packet_time(packet)
        # Packets come in decoding order, in which presentation times jump; only when the decoding
        # time has passed the end can no earlier frame follow.
        if packet.dts is not None and packet.dts * packet.time_base - source.origin >= part.end_s:
            return
        if time is None:
            yield None
        elif not packet.is_discard and part.first_s <= time < part.end_s:
            yield time


def _without_gaps(
    source: PacketSource, wanted: tuple[Seconds, ...], part: Window
) -> tuple[tuple[Seconds, ...], tuple[str, ...]]:
    """Wanted times, moved if they have fewer different nearest frames; a warning says so."""
    times = _frames_in_gaps(source, wanted, part)
    return (wanted, ()) if times is None else _filled(source, times, part, len(wanted))


def _filled(
    source: PacketSource, times: FrameTimes, part: Window, count: int
) -> tuple[tuple[Seconds, ...], tuple[str, ...]]:
    """`count` times of frames, evenly spaced as far as there are frames."""
    wanted = evenly_spaced(part, count)
    kept = [*range(len(times.ticks))]
    if len(kept) > count:
        kept = times.nearest(wanted[0], 1 / Fraction(wanted[1] - wanted[0]), count)
        if len(kept) == count:
            return wanted, ()
        gap = float(int(np.diff(times.ticks).max()) * times.unit)
        return times.at(times.filled(kept, count)), (
            f"{source.name} has up to {gap:.1f} s without a frame: the {count} frames are spread "
            "over the time that has frames",
        )
    return times.at(kept), ()


def _frames_in_gaps(
    source: PacketSource, wanted: tuple[Seconds, ...], part: Window
) -> FrameTimes | None:
    """Times of all frames, if some of the wanted times may share their nearest one; else None.

    All packets are read only then.
    """
    if len(wanted) < 2 or not _has_gap(source, [float(time) for time in wanted]):
        return None
    base = source.stream.time_base or Fraction(1)
    per_second = math.lcm(base.denominator, source.origin.denominator)
    ticks = array("q")
    for time in _times_in(source, part):
        if time is None or abs(time) > _MAX_TICKS / per_second:
            return None
        ticks.append(round(time * per_second))
    times = np.sort(np.frombuffer(ticks, np.int64))
    # np.unique would import a module, which a sandboxed process can't.
    times = times[np.diff(times, prepend=times[:1] - 1) > 0]
    return FrameTimes(times, Fraction(1, per_second)) if ticks else None


def _has_gap(source: PacketSource, wanted: Sequence[float]) -> bool:
    """Whether one of several evenly spaced times has no frame within half of their distance.

    Frames that are nearer are different for different times. Packets are read only up to such a
    frame for each time, which is less than is decoded later.
    """
    spacing = wanted[1] - wanted[0]
    if spacing <= 0:
        return False
    has_frame = [False] * len(wanted)
    at, position, read_through = 0, 0.0, _SHORT_GAP_S
    source.rewind()
    packets = source.packets()
    while True:
        while at < len(wanted) and has_frame[at]:
            at += 1
        if at == len(wanted):
            return False
        if source.seekable and wanted[at] - position > read_through:
            keyframe = source.seek(wanted[at])
            if keyframe is None:
                source.seekable = False
                source.rewind()
            elif keyframe <= position:  # it went back, so such distances aren't sought again
                read_through = max(read_through, wanted[at] - keyframe)
            packets, position = source.packets(), wanted[at]
        packet = next(packets, None)
        if packet is None:
            return True
        time = source.packet_time(packet)
        if time is None:
            return False
        if packet.is_discard:
            continue
        number = min(max(round((float(time) - wanted[0]) / spacing), 0), len(wanted) - 1)
        if abs(float(time) - wanted[number]) < 0.499 * spacing:
            has_frame[number] = True
        decoded = time if packet.dts is None else packet.dts * packet.time_base - source.origin
        position = max(position, float(decoded))
        if packet.dts is not None and not has_frame[at] and position > wanted[at] + spacing / 2:
            return True

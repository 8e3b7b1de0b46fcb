"""Wanted times of videos with gaps, in which evenly spaced times would find too few frames.

Motion-triggered cameras and screen recorders write no frames while nothing changes. Several evenly
spaced times in such a gap have the same nearest frame. So the remaining frames are spread over the
time that has frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

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
    there: FrameTimes, sampling: Sampling, part: Window, most: int, name: str
) -> tuple[tuple[Seconds, ...], tuple[str, ...]]:
    """Wanted times of the frames in a part of a video, and warnings.

    Without gaps they are those of `wanted_times`; if there are no more frames than wanted, those
    of all frames.

    Args:
        there: the frames of the part.
        most: number of frames that are allowed to be read.
        name: of the video.
    """
    if sampling.fps is None:
        return _spread(there, part, sampling.frames, name)
    count = steps(sampling.fps, part)
    allowed = min(sampling.max_frames or MAX_WANTED, MAX_WANTED)
    if count > min(allowed, most):
        # There may be fewer frames than times.
        found = there.nearest(part.first_s, exact(sampling.fps), count)
        if len(found) <= allowed:
            return there.at(found), ()
        if sampling.max_frames is not None:
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
    return there.at(there.filled(kept, count)), (
        f"{name} has up to {gap:.1f} s without a frame: the {count} frames are spread over the "
        "time that has frames",
    )

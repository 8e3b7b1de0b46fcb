"""Keyframes, extent and clock of a video stream whose file has no index of its own."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from fractions import Fraction
from math import isfinite

from dycoke_cli.video.clock import Clock, Part

# Time stamps that differ by less are the same.
_SAME_S = 0.001


class PacketIndex:
    """Keyframes and extent of a video stream.

    Times are continuous (`Clock`), in seconds, and count from the time stamp 0 of the file's first
    part.

    Attributes:
        clock: shifts to continuous times.
        frames: number of frames.
        untimed: number of frames that are displayed before the first one with a time stamp.
        trusts_seeks: whether the demuxer seeks to keyframes with their own time stamps. If not,
            packets are read from the beginning of the file to the keyframe, without decoding them.
        last_byte: end of the last packet in the file.
    """

    def __init__(self, clock: Clock, base: Fraction) -> None:
        self.clock = clock
        self.frames = 0
        self.untimed = 0
        self.trusts_seeks = True
        self.last_byte = 0
        self._base = base
        self._numbers = array("q")
        self._times = array("d")

    def add_keyframe(self, number: int, time_s: float) -> None:
        """Add a keyframe; `number` counts the packets of all streams."""
        # A damaged time stamp may be earlier than that of the keyframe before.
        if not self._times or time_s > self._times[-1]:
            self._numbers.append(number)
            self._times.append(time_s)

    def keyframe_before(self, time_s: float) -> tuple[int, float] | None:
        """Packet number and time of the last keyframe at or before a time; None if there is none.

        Only keyframes with a time stamp count.
        """
        place = bisect_right(self._times, time_s + _SAME_S) - 1
        return None if place < 0 else (self._numbers[place], self._times[place])

    @property
    def has_keyframes(self) -> bool:
        """Whether any keyframe has a time stamp."""
        return bool(self._times)

    def has(self, time_s: float) -> bool:
        """Whether a keyframe has this time."""
        found = self.keyframe_before(time_s)
        return found is not None and abs(found[1] - time_s) <= _SAME_S

    @property
    def first_s(self) -> Fraction:
        """Time of the first frame that has a time stamp."""
        return (self._parts[0].first or 0) * self._base

    @property
    def last_s(self) -> Fraction:
        """Time of the last frame."""
        return max(part.last * self._base + part.shift for part in self._parts)

    @property
    def end_s(self) -> Fraction:
        """Time at which the last frame ends."""
        return max(part.end * self._base + part.shift for part in self._parts)

    @property
    def end_of_any_s(self) -> Fraction:
        """Time at which the last frame or audio packet ends."""
        ends = [Fraction(p.ends_s) + p.shift for p in self.clock.parts if isfinite(p.ends_s)]
        return max([self.end_s, *ends])

    @property
    def _parts(self) -> list[Part]:
        with_video = [part for part in self.clock.parts if part.first is not None]
        return with_video or self.clock.parts[:1]

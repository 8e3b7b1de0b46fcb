"""Every frame of a video: its time, whether it is a keyframe, and where the film ends.

One pass over all packets of a file, without decoding them: about 10 µs a packet, and what the disk
takes to read the file. So nothing is guessed from what a container declares, and one rule holds for
files with and without an index of their own.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np

# Time stamps that differ by less are the same.
SAME_S = 0.001
_MOST_TICKS = 2**60
_TIMED = ("video", "audio", "subtitle")
# Frames without a time stamp follow at the usual interval, which is no whole number of ticks.
Ticks = int | Fraction


class FrameIndex:
    """All frames of a video stream, with their times by the clock of the file.

    Attributes:
        frames: number of frames.
        untimed: number of frames that are displayed before the first one with a time stamp.
        restarts: whether time stamps begin again in mid-file, as in recordings that are joined.
        trusts_seeks: whether the demuxer seeks to keyframes with their own time stamps. If not,
            packets are read from the beginning of the file to the keyframe, without decoding them.
        end_of_any_s: time at which the last frame, sound or line of subtitles ends.
    """

    def __init__(self, base: Fraction) -> None:
        self.base = base
        self.frames = self.untimed = 0
        self.trusts_seeks, self.restarts = True, False
        self.end_of_any_s = Fraction(0)
        # Times in ticks: of all frames, of the first and the last one, and the end of the last one.
        self._ticks = array("q")
        self._first: Ticks | None = None
        self._last: Ticks = 0
        self._end: Ticks = 0
        self._numbers, self._keyframes = array("q"), array("d")

    @classmethod
    def of(
        cls,
        container: av.container.InputContainer,
        video: av.VideoStream,
        interval: Fraction,
        packets: Iterable[av.Packet],
    ) -> FrameIndex:
        """Read all packets of an open video.

        Args:
            interval: usual time between two frames, in seconds.
            packets: of all streams, from the beginning.
        """
        index = cls(video.time_base or Fraction(1, av.time_base))
        usual, is_matroska = interval / index.base, "matroska" in container.format.name
        # Time stamp of the last keyframe, and the number of frames since.
        anchor: int | None = None
        since = 0
        # In every codec a keyframe is displayed after all frames that are decoded before it, and
        # what is decoded after it as well. These frames have time stamps up to `floor` and half a
        # frame, and so many others behind them, too.
        highest = floor = -_MOST_TICKS
        behind = 0
        # By stream, in its ticks: an hour has 100,000 packets, and fractions are slow.
        ends, bases = dict[int, int](), dict[int, Fraction]()
        video_index = video.index
        for number, packet in enumerate(packets):
            ticks, of_stream = packet.pts, packet.stream_index
            if of_stream not in ends:
                ends[of_stream] = 0
                if packet.time_base and packet.stream.type in _TIMED:
                    bases[of_stream] = packet.time_base
            if ticks is not None:
                ends[of_stream] = max(ends[of_stream], ticks + (packet.duration or 0))
            if of_stream != video_index or packet.is_discard:
                continue
            index.frames += 1
            since += 1
            # A frame in the middle of a stored packet has no time stamp there. FFmpeg derives one
            # from the packets before, which it doesn't know after a seek.
            index.trusts_seeks &= packet.pos is not None
            # Matroska's times below 0 are lost. With reordered frames, the first packet with a time
            # may come before the last one without.
            if ticks is None and (anchor is None or is_matroska):
                index.untimed += 1
                continue
            if ticks is not None and (packet.is_keyframe or anchor is None):
                anchor, since = ticks, 0
                if packet.is_keyframe:
                    index._add_keyframe(number, float(ticks * index.base))
                    floor = math.floor(highest - usual / 2)
            if ticks is not None:
                behind = behind + 1 if ticks <= floor else 0
                index.restarts |= behind > 1  # a single one has a damaged time stamp
                highest = max(highest, ticks)
            shown: Ticks = (anchor or 0) + since * usual if ticks is None else ticks
            index._ticks.append(round(shown))
            index._first = shown if index._first is None else min(index._first, shown)
            # A length is that to the next packet, which of an earlier frame may be long.
            if shown >= index._last or len(index._ticks) == 1:
                index._last, index._end = shown, shown + (packet.duration or usual)
        index.end_of_any_s = max((ends[one] * bases[one] for one in bases), default=Fraction(0))
        begin = index._first or 0
        index._ticks.extend(round(begin - (n + 1) * usual) for n in range(index.untimed))
        index.trusts_seeks &= not index.untimed  # a seek goes by time stamps
        return index

    def forget_keyframes(self) -> None:
        """Have all frames decoded one after the other.

        A seek would skip what a packet says of all later ones, such as a palette.
        """
        self._numbers, self._keyframes = array("q"), array("d")

    def _add_keyframe(self, number: int, time_s: float) -> None:
        """Add a keyframe; `number` counts the packets of all streams."""
        # A damaged time stamp may be earlier than that of the keyframe before.
        if not self._keyframes or time_s > self._keyframes[-1]:
            self._numbers.append(number)
            self._keyframes.append(time_s)

    def keyframe_before(self, time_s: float) -> tuple[int, float] | None:
        """Packet number and time of the last keyframe at or before a time; None if there is none.

        Only keyframes with a time stamp count.
        """
        place = bisect_right(self._keyframes, time_s + SAME_S) - 1
        return None if place < 0 else (self._numbers[place], self._keyframes[place])

    def times(self, origin: Fraction) -> tuple[np.ndarray, Fraction]:
        """Times of all frames that count from a time: int64, ascending, each once; and their unit.

        Args:
            origin: in seconds.
        """
        unit = Fraction(1, math.lcm(self.base.denominator, origin.denominator))
        a_tick, ticks = int(self.base / unit), np.array(self._ticks, np.int64)
        # Others are noise, and would exceed 64 bits.
        ticks = np.sort(ticks[abs(ticks) < _MOST_TICKS // a_tick] * a_tick - int(origin / unit))
        # np.unique would import a module, which a sandboxed process can't.
        return ticks[np.diff(ticks, prepend=ticks[:1] - 1) > 0], unit

    @property
    def has_uneven_frames(self) -> bool:
        """Whether frames are unevenly spaced."""
        gaps = np.diff(self.times(Fraction(0))[0])
        # Rounding to ticks changes a gap by up to two, and a constant-rate camera has some jitter.
        return len(gaps) > 1 and bool(gaps.max() - gaps.min() > max(2, 0.05 * gaps.mean()))

    @property
    def first_s(self) -> Fraction:
        """Time of the first frame that has a time stamp."""
        return (self._first or 0) * self.base

    @property
    def last_s(self) -> Fraction:
        """Time of the last frame."""
        return self._last * self.base

    @property
    def end_s(self) -> Fraction:
        """Time at which the last frame ends."""
        return self._end * self.base

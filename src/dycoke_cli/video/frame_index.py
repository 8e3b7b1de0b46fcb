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
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite

import av
import numpy as np

from dycoke_cli.video.limits import MAX_ENTRIES

# Continuous times for files whose time stamps step back or jump ahead.
#
# Recordings that are joined byte by byte (`cat a.ts b.ts`, the VOB files of a DVD, HLS segments,
# advertisements) have time stamps that begin again in mid-file. A `Clock` divides such a file into
# parts, and shifts each part so that its video begins where the video of the part before it ends.
# Audio and subtitles are shifted with the video of their part.
#
# Example: two files of 10 s are joined. The packets have times from 0 to 9.96 s, twice. The second
# part is shifted by 10 s, so times run from 0 to 19.96 s.
#
# The thresholds are those of FFmpeg's command line (`ts_discontinuity_detect` in `ffmpeg_demux.c`),
# with three differences. A step back is also found by a keyframe, because in every codec a keyframe
# is displayed after all frames that are decoded before it. Silence of one stream isn't a jump while
# another stream goes on. And all streams of a part have the same shift.


# As in FFmpeg: broadcast formats (MPEG-TS, MPEG-PS, Ogg) restart their clock at any value. In other
# formats a jump ahead is a pause of the recording, up to 30 hours.
_JUMP_S = 10.0
_LONGEST_PAUSE_S = 30 * 3600.0
_STEP_BACK_S = 0.1
# Matroska has presentation times only. FFmpeg derives decoding times from them, which step back by
# a few frames where parts meet and frames are reordered.
_REORDERED_FRAMES = 20
# Bounds the memory for a file whose time stamps are noise.
_MOST_PARTS = 10_000
_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT
_TIMED = ("video", "audio")
# Frames without a time stamp follow at the usual interval, which is no whole number of ticks.
Ticks = int | Fraction


@dataclass
class PacketRun:
    """Packets of a file between two steps of its time stamps."""

    # from time stamps to continuous times, in seconds; set by `Clock.set_shifts`
    shift: Fraction = Fraction(0)
    frames: array[int] = field(default_factory=lambda: array("q"))  # their times in ticks
    # Numbers of the packets of keyframes, and their times in ticks.
    numbers: array[int] = field(default_factory=lambda: array("q"))
    keyframes: array[int] = field(default_factory=lambda: array("q"))
    first: Ticks | None = None  # lowest time stamp of its video, in ticks; None if it has no video
    last: Ticks = 0  # highest time stamp of its video, in ticks
    end: Ticks = 0  # end of its last video frame, in ticks
    latest_s: float = 0.0  # time stamp of its most recent audio or video packet
    begins_s: float = float("inf")  # lowest time stamp of any audio or video packet
    ends_s: float = float("-inf")  # end of its last audio or video packet

    def add_frame(self, ticks: Ticks, length: Ticks) -> None:
        """Add a video frame with a time stamp and a duration in ticks."""
        self.frames.append(round(ticks))
        if self.first is None:
            self.first, self.last, self.end = ticks, ticks, ticks + length
            return
        self.first = min(self.first, ticks)
        # A length is that to the next packet, which of an earlier frame may be long.
        if ticks >= self.last:
            self.last, self.end = ticks, ticks + length


@dataclass
class _Track:
    """State of a stream: times in seconds, and the first packet number of each of its parts."""

    base: float
    kind: str
    interval_s: float
    part: int = 0
    last_s: float | None = None
    next_s: float = 0.0
    highest_s: float = float("-inf")
    entries: list[int] = field(default_factory=lambda: [0])
    parts: list[int] = field(default_factory=lambda: [0])

    def part_at(self, number: int) -> int:
        """Index of the part of a packet."""
        return self.parts[bisect_right(self.entries, number) - 1]


class Clock:
    """Shifts from time stamps to continuous times, for the packets of a file in file order.

    Call `observe` for each packet of one pass, then `set_shifts`. In later passes, `apply` changes
    the time stamps of packets, which are identified by their number from the beginning of the file.

    Args:
        interval: usual time between two of its frames, in seconds.

    Attributes:
        parts: at least one.
    """

    def __init__(
        self, container: av.container.InputContainer, video: av.VideoStream, interval: Fraction
    ) -> None:
        self.parts = [PacketRun()]
        self._video = video.index
        self._base = video.time_base or Fraction(1, av.time_base)
        # Matroska has presentation times only.
        self._derives_dts = "matroska" in container.format.name
        self._jumps = bool(container.format.flags & _TS_DISCONT)
        self._tracks = {
            stream.index: _Track(
                float(stream.time_base or 0),
                stream.type,
                float(interval) if stream.index == video.index else 0.0,
            )
            for stream in container.streams
        }

    @property
    def restarts(self) -> bool:
        """Whether the time stamps of the file aren't continuous."""
        return len(self.parts) > 1

    def observe(self, packet: av.Packet, number: int) -> PacketRun:
        """Find the part of a packet; `number` counts the packets of all streams."""
        track = self._tracks[packet.stream_index]
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is None:
            return self.parts[track.part]
        time_s = ticks * track.base
        is_timed = track.kind in _TIMED
        chosen = track.part
        newest = len(self.parts) - 1
        # Another stream has entered a new part. This packet belongs to the part that was being read
        # at its time: streams are interleaved, so the last packets of a part come late.
        if chosen < newest:
            away = abs(time_s - self.parts[chosen].latest_s)
            if abs(time_s - self.parts[newest].latest_s) < away:
                chosen = newest
        if chosen == track.part and is_timed and self._is_step(track, packet, time_s):
            self.parts.append(PacketRun())
            chosen = newest + 1
        if chosen != track.part:
            track.part, track.highest_s = chosen, float("-inf")
            track.entries.append(number)
            track.parts.append(chosen)
        part = self.parts[chosen]
        length_s = (packet.duration or 0) * track.base
        if is_timed:
            track.last_s, track.next_s = time_s, time_s + (length_s or track.interval_s)
            part.latest_s = time_s
            part.begins_s = min(part.begins_s, time_s)
        if packet.pts is not None:
            shown_s = packet.pts * track.base
            track.highest_s = max(track.highest_s, shown_s)
            if is_timed:
                part.ends_s = max(part.ends_s, shown_s + length_s)
        return part

    def _is_step(self, track: _Track, packet: av.Packet, time_s: float) -> bool:
        if track.last_s is None or len(self.parts) == _MOST_PARTS:
            return False
        ahead_s = time_s - track.next_s
        if self._jumps:
            # A slide show has long intervals.
            limit_s = max(_JUMP_S, 5 * track.interval_s)
            if ahead_s > limit_s and time_s - self.parts[track.part].latest_s > limit_s:
                return True
            slack_s = _STEP_BACK_S
        else:
            if ahead_s > _LONGEST_PAUSE_S:
                return True
            slack_s = max(1.0, _REORDERED_FRAMES * track.interval_s)
        if time_s < track.last_s - slack_s:
            return True
        slack_s = track.interval_s / 2 if track.kind == "video" else _STEP_BACK_S
        return (
            packet.is_keyframe
            and packet.pts is not None
            and packet.pts * track.base < track.highest_s - slack_s
        )

    def set_shifts(self) -> None:
        """Determine the shift of each part; call it once, after the last packet."""
        end: Ticks | None = None
        for part in self.parts:
            if part.first is None:
                # Without video, such as a damaged time stamp of the audio.
                if end is not None:
                    begins = Fraction(part.begins_s).limit_denominator(av.time_base)
                    part.shift = end * self._base - begins
                continue
            if end is not None:
                # A whole number of ticks, so that the times of frames stay exact.
                part.shift = round(end - part.first) * self._base
            end = part.end + part.shift / self._base

    def shift(self, stream_index: int, number: int) -> Fraction:
        """Seconds to add to the time stamps of a packet."""
        return self.parts[self._tracks[stream_index].part_at(number)].shift

    def apply(self, packet: av.Packet, number: int) -> av.Packet:
        """Change the time stamps of a packet to continuous times."""
        if not packet.time_base or self._tracks[packet.stream_index].part_at(number) == 0:
            return packet
        shift = self.shift(packet.stream_index, number)
        # FFmpeg marks the beginning of a joined MP4 fragment as not to be displayed, because its
        # time stamps are in the past. The mark can't be removed, so the packet is copied.
        if packet.is_discard:
            packet = _unmarked(packet)
        ticks = round(shift / packet.time_base)
        if packet.pts is not None:
            packet.pts += ticks
        if packet.dts is not None:
            # One that is derived from the presentation times of two parts means nothing.
            packet.dts = None if self._derives_dts else packet.dts + ticks
        return packet


def _unmarked(packet: av.Packet) -> av.Packet:
    copy = av.Packet(bytes(packet))
    copy.stream = packet.stream
    copy.time_base = packet.time_base
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.is_keyframe = packet.is_keyframe
    return copy


# Time stamps that differ by less are the same.
_SAME_S = 0.001
_MOST_TICKS = 2**60
# FFmpeg marks all packets of these as keyframes.
_WITHOUT_KEYFRAMES = ("h263", "h261")


class FrameIndex:
    """All frames of a video stream.

    Times are continuous (`Clock`), in seconds, and count from the time stamp 0 of the file's first
    part.

    Attributes:
        clock: shifts to continuous times.
        frames: number of frames.
        untimed: number of frames that are displayed before the first one with a time stamp.
        trusts_seeks: whether the demuxer seeks to keyframes with their own time stamps. If not,
            packets are read from the beginning of the file to the keyframe, without decoding them.
        is_declared: whether it is that of the container; then frames and keyframes may be others.
        last_byte: end of the last packet in the file.
        end_of_lines_s: time at which the last subtitle ends; 0 without any.
    """

    def __init__(self, clock: Clock, base: Fraction) -> None:
        self.clock, self.base = clock, base
        self.frames = self.untimed = self.last_byte = 0
        self.trusts_seeks, self.is_declared = True, False
        self.end_of_lines_s = Fraction(0)
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
        base, name = video.time_base or Fraction(1, av.time_base), container.format.name
        clock = Clock(container, video, interval)
        index = cls(clock, base)
        usual = interval / base
        # Time stamp of the last keyframe, and the number of frames since.
        anchor: int | None = None
        since = 0
        for number, packet in enumerate(packets):
            part = clock.observe(packet, number)
            if packet.stream.type == "subtitle" and packet.pts is not None and packet.time_base:
                line_end = (packet.pts + (packet.duration or 0)) * packet.time_base
                index.end_of_lines_s = max(index.end_of_lines_s, line_end)
            if packet.pos is not None:
                index.last_byte = max(index.last_byte, packet.pos + packet.size)
            if packet.stream_index != video.index or (packet.is_discard and part is clock.parts[0]):
                continue
            index.frames += 1
            since += 1
            ticks = packet.pts
            # A frame in the middle of a stored packet has no time stamp there. FFmpeg derives one
            # from the packets before, which it doesn't know after a seek.
            index.trusts_seeks &= packet.pos is not None
            # Matroska's times below 0 are lost. With reordered frames, the first packet with a time
            # may come before the last one without.
            if ticks is None and (anchor is None or "matroska" in name):
                index.untimed += 1
                continue
            if ticks is not None and (packet.is_keyframe or anchor is None):
                anchor, since = ticks, 0
                if packet.is_keyframe and name not in _WITHOUT_KEYFRAMES:
                    part.numbers.append(number)
                    part.keyframes.append(ticks)
            part.add_frame(
                (anchor or 0) + since * usual if ticks is None else ticks, packet.duration or usual
            )
        first = clock.parts[0]
        if anchor is None:  # a raw stream
            for place in range(index.untimed):
                first.add_frame(place * usual, usual)
            index.untimed = 0
        begin = first.first or 0
        first.frames.extend(round(begin - (n + 1) * usual) for n in range(index.untimed))
        clock.set_shifts()
        # A seek goes by time stamps. It can't find one that exists twice, or none.
        index.trusts_seeks &= not clock.restarts and not index.untimed
        for part in clock.parts:
            for number, ticks in zip(part.numbers, part.keyframes, strict=True):
                index._add_keyframe(number, float(ticks * base + part.shift))
        return index

    @classmethod
    def declared(
        cls,
        container: av.container.InputContainer,
        video: av.VideoStream,
        interval: Fraction,
        end: Fraction | None,
    ) -> FrameIndex | None:
        """What the container of a file declares; None if that is too little.

        An MP4 has decoding times of all frames: those of displaying are the same ones later, except
        where frames are unevenly spaced. A Matroska file has the keyframes: frames are taken to be
        evenly spaced.

        Args:
            end: declared end of the stream by the file's clock, in seconds; None if there is none.
        """
        container.seek(0)  # reads the index of a Matroska file
        index = cls(Clock(container, video, interval), video.time_base or Fraction(1, av.time_base))
        usual, first, entries = interval / index.base, video.start_time or 0, video.index_entries
        if end is None:
            end = Fraction(container.duration or 0, av.time_base) + first * index.base
        count = round((end - first * index.base) / interval)
        if not 0 < count <= MAX_ENTRIES or not any(entry.is_keyframe for entry in entries):
            return None
        if is_whole := len(entries) == video.frames:
            times = np.array([entry.timestamp for entry in entries], np.int64)
            times += first - times[0]
        else:
            times = np.rint(first + np.arange(count) * float(usual)).astype(np.int64)
        for entry in filter(lambda one: one.is_keyframe, entries):
            time = entry.timestamp + (first - entries[0].timestamp if is_whole else 0)
            # Before all packets: if a seek fails, they are read from the beginning.
            index._add_keyframe(-1, float(time * index.base))
        part = index.clock.parts[0]
        part.frames.frombytes(times.tobytes())
        part.first, part.last, part.end = first, int(times[-1]), end / index.base
        index.frames, index.is_declared = len(times), True
        return index

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
        place = bisect_right(self._keyframes, time_s + _SAME_S) - 1
        return None if place < 0 else (self._numbers[place], self._keyframes[place])

    def has(self, time_s: float) -> bool:
        """Whether a keyframe has this time, as far as that is known."""
        if self.is_declared:
            return True
        found = self.keyframe_before(time_s)
        return found is not None and abs(found[1] - time_s) <= _SAME_S

    def times(self, origin: Fraction) -> tuple[np.ndarray, Fraction]:
        """Times of all frames that count from a time: int64, ascending, each once; and their unit.

        Args:
            origin: in seconds.
        """
        unit = Fraction(1, math.lcm(self.base.denominator, origin.denominator))
        a_tick, parts = int(self.base / unit), [np.empty(0, np.int64)]
        for part in self.clock.parts:
            shift = int((part.shift - origin) / unit)
            ticks = np.array(part.frames, np.int64)
            # Others are noise, and their sums would exceed 64 bits.
            if abs(shift) < _MOST_TICKS:
                parts.append(ticks[abs(ticks) < _MOST_TICKS // a_tick] * a_tick + shift)
        ticks = np.sort(np.concatenate(parts))
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
        return (self._parts[0].first or 0) * self.base

    @property
    def last_s(self) -> Fraction:
        """Time of the last frame."""
        return max(part.last * self.base + part.shift for part in self._parts)

    @property
    def end_s(self) -> Fraction:
        """Time at which the last frame ends."""
        return max(part.end * self.base + part.shift for part in self._parts)

    @property
    def end_of_any_s(self) -> Fraction:
        """Time at which the last frame or audio packet ends."""
        ends = [Fraction(p.ends_s) + p.shift for p in self.clock.parts if isfinite(p.ends_s)]
        return max([self.end_s, *ends])

    @property
    def _parts(self) -> list[PacketRun]:
        with_video = [part for part in self.clock.parts if part.first is not None]
        return with_video or self.clock.parts[:1]

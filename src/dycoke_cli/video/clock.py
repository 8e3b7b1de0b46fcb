"""Continuous times for files whose time stamps step back or jump ahead.

Recordings that are joined byte by byte (`cat a.ts b.ts`, the VOB files of a DVD, HLS segments,
advertisements) have time stamps that begin again in mid-file. A `Clock` divides such a file into
parts, and shifts each part so that its video begins where the video of the part before it ends.
Audio and subtitles are shifted with the video of their part.

Example: two files of 10 s are joined. The packets have times from 0 to 9.96 s, twice. The second
part is shifted by 10 s, so times run from 0 to 19.96 s.

The thresholds are those of FFmpeg's command line (`ts_discontinuity_detect` in `ffmpeg_demux.c`),
with three differences. A step back is also found by a keyframe, because in every codec a keyframe
is displayed after all frames that are decoded before it. Silence of one stream isn't a jump while
another stream goes on. And all streams of a part have the same shift.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction

import av

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
class Part:
    """Packets of a file between two steps of its time stamps."""

    # from time stamps to continuous times, in seconds; set by `Clock.settle`
    shift: Fraction = Fraction(0)
    first: Ticks | None = None  # lowest time stamp of its video, in ticks; None if it has no video
    last: Ticks = 0  # highest time stamp of its video, in ticks
    end: Ticks = 0  # end of its last video frame, in ticks
    latest_s: float = 0.0  # time stamp of its most recent audio or video packet
    begins_s: float = float("inf")  # lowest time stamp of any audio or video packet
    ends_s: float = float("-inf")  # end of its last audio or video packet

    def add_frame(self, ticks: Ticks, length: Ticks) -> None:
        """Count a video frame with a time stamp and a duration in ticks."""
        if self.first is None:
            self.first, self.last, self.end = ticks, ticks, ticks + length
            return
        self.first = min(self.first, ticks)
        self.last = max(self.last, ticks)
        self.end = max(self.end, ticks + length)


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

    Call `observe` for each packet of one pass, then `settle`. In later passes, `apply` changes the
    time stamps of packets, which are identified by their number from the beginning of the file.

    Args:
        interval: usual time between two of its frames, in seconds.

    Attributes:
        parts: at least one.
    """

    def __init__(
        self, container: av.container.InputContainer, video: av.VideoStream, interval: Fraction
    ) -> None:
        self.parts = [Part()]
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

    def observe(self, packet: av.Packet, number: int) -> Part:
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
            self.parts.append(Part())
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

    def settle(self) -> None:
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

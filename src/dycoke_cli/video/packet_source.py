"""Packets of the video stream of an open file: reading them in order, seeking, and their times.

Real files are damaged, truncated, or lack an index or time stamps. So packets end at the first
unreadable place, and a seek that a file doesn't support returns None instead of raising an error.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from typing import BinaryIO, Literal, get_args

import av
from av.packet import PacketSideData

from dycoke_cli.video.containers import choose_stream, header_of, most_pictures, open_container
from dycoke_cli.video.frame_rate import rate_of
from dycoke_cli.video.open_file import layout_of
from dycoke_cli.video.track_headers import TrackHeader, track_headers

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


# Keyframes, extent and clock of a video stream whose file has no index of its own.


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
    def _parts(self) -> list[PacketRun]:
        with_video = [part for part in self.clock.parts if part.first is not None]
        return with_video or self.clock.parts[:1]


_SEEK_ATTEMPTS = 4
# AVI has no presentation times. FFmpeg guesses them, and they run backwards if a codec reorders
# frames. The decoding times of frames are correct, once frames are in display order.
_BY_DECODING_TIME = ("avi",)
# Side data of a packet that holds for all later packets: a demuxer sends it once.
LastingKind = Literal["palette", "new_extradata", "param_change"]
LASTING: tuple[LastingKind, ...] = get_args(LastingKind)


class PacketSource:
    """Packets of an open video stream; not thread-safe.

    Attributes:
        name: of the file, escaped for a terminal.
        stream: video stream (replaced by `rewind`).
        rate: frames per second.
        interval: usual time between two frames, in seconds.
        origin: time stamp of the first frame, in seconds; all other times are relative to it.
        layout: top-level structure of the file.
        header: of the track.
        index: of a file without an index of its own; None if it has one, or isn't indexed yet.
        seekable: False once seeking has failed.
        failure: what ended the packets before the end; None if nothing did.
        most_pictures: maximum number of frames of an image file; None for a video.
        undecoded: lasting side data of packets that were read; its user removes it.
    """

    container: av.container.InputContainer  # open container (replaced by `rewind`)
    most_pixels: int  # of a frame; larger ones aren't decoded

    def __init__(
        self, file: BinaryIO, stream: int | None, name: str, raw_rate: float | None = None
    ) -> None:
        self.name = name
        self.origin = Fraction(0)
        self.seekable = True
        self.failure: Exception | None = None
        self.index: PacketIndex | None = None
        self._file = file
        self._headers: tuple[TrackHeader, ...] = ()
        self.header = TrackHeader(0)
        self._begin()
        self.most_pictures = most_pictures(self.container)
        self._by_decoding_time = self.container.format.name in _BY_DECODING_TIME
        try:
            self.stream = choose_stream(self.container, stream, name, self._headers)
            self.header = header_of(self._headers, self.container, self.stream)
            if self.header.is_hidden:
                self._reopen()
        except BaseException:
            self.container.close()
            raise
        self.rate = rate_of(self.container, self.stream, raw_rate)
        self.interval = 1 / self.rate.usual
        # Number of the next packet, counted over all streams; None after a seek.
        self._number: int | None = 0
        self._packets = self.demux()
        self._is_sought = False
        self.undecoded = dict[LastingKind, PacketSideData]()

    def _begin(self) -> None:
        self.layout = layout_of(self._file)
        self._headers = track_headers(self._file)
        self.container = open_container(self._file, self.name, self.most_pixels)

    def _reopen(self) -> None:
        index, most, hidden = self.stream.index, self.most_pixels, self.header.is_hidden
        self.container.close()
        # Browsers ignore an edit list that shows nothing.
        self.container = open_container(self._file, self.name, most, without_edits=hidden)
        self.stream = choose_stream(self.container, index, self.name)

    @property
    def starts_s(self) -> Fraction:
        """Start of the file, where players begin, in seconds from the first frame; at most 0."""
        if self.container.start_time is None:
            return Fraction(0)
        start = Fraction(self.container.start_time, av.time_base)
        # It is that of a stream, rounded to microseconds.
        for stream in self.container.streams:
            if stream.start_time is not None and stream.time_base:
                exact = stream.start_time * stream.time_base
                if abs(exact - start) <= Fraction(1, av.time_base):
                    start = exact
        return min(start - self._packet_origin(), Fraction(0))

    def close(self) -> None:
        """Close the container; the file is the caller's."""
        self.container.close()
        # The generator refers to this source. Breaking the cycle frees decoded frames at once,
        # instead of at the next garbage collection.
        self._packets = iter(())

    def rewind(self) -> None:
        """Return to the beginning by reopening the container, which works without an index."""
        self._reopen()
        self._number = 0
        self._packets = self.demux()
        self._is_sought = False
        self.undecoded = {}

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the video from the current position on, which the caller moves.

        Unlike those of `demux`, they begin with the keyframe after `seek`.
        """
        return self._packets

    def demux(self, *streams: av.stream.Stream) -> Iterator[av.Packet]:
        """Yield packets from the current position to the end, or to the first unreadable place.

        Args:
            streams: of `container`; the video stream if none is given.
        """
        wanted = {stream.index for stream in streams or (self.stream,)}
        clock = self.index.clock if self.index is not None and self.index.clock.restarts else None
        try:
            # Packets of all streams, because the clock counts them.
            for packet in self.container.demux():
                if not packet.size:  # PyAV ends with empty packets, which would flush the decoder
                    continue
                number = self._number
                if number is not None:
                    self._number = number + 1
                if self.rate.is_counted:
                    packet.pts = packet.dts = None
                if packet.stream_index == self.stream.index:
                    self._keep_lasting(packet)
                if packet.stream_index in wanted:
                    # A file whose time stamps restart is only read from its beginning.
                    yield packet if clock is None else clock.apply(packet, number or 0)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError) as error:
            self.failure = error
            return
        except IndexError:
            # After the last packet, PyAV fails on streams that appeared while reading (as in
            # broadcasts). Everything has been read by then.
            return

    def _keep_lasting(self, packet: av.Packet) -> None:
        for kind in LASTING:
            if packet.has_sidedata(kind):
                self.undecoded[kind] = packet.get_sidedata(kind)
                # A palette comes with the first packet, and in AVI wherever it changes. A seek
                # would skip it. The index reads all packets up to a keyframe instead.
                self.seekable &= kind != "palette" or self.index is not None

    def seek(self, time_s: float) -> float | None:
        """Move to the keyframe at or before a time.

        Returns:
            Time of the keyframe. None if seeking fails; then the position is undefined, and
            `rewind` is required.
        """
        index = self.index
        if index is None:
            return self._seek_by_time(time_s)
        found = index.keyframe_before(time_s + float(self.origin))
        if found is None:
            self.rewind()
            return 0.0
        number, keyframe_s = found
        # MPEG-TS can't seek to its first keyframe.
        if index.trusts_seeks and keyframe_s > float(self.origin):
            sought = self._seek_by_time(time_s)
            if sought is not None and index.has(sought + float(self.origin)):
                return sought
            index.trusts_seeks = False
        self._read_to(number)
        return keyframe_s - float(self.origin)

    def leads_on(self, time_s: float, position_s: float) -> bool:
        """Whether a seek to a time would skip frames after the current position.

        False only if the index shows that the keyframe has been read already.
        """
        index = self.index
        found = None if index is None else index.keyframe_before(time_s + float(self.origin))
        if index is None:
            return True
        if found is None:
            return False
        number, keyframe_s = found
        is_unread = index.trusts_seeks or self._number is None or self._number <= number
        return is_unread and keyframe_s - float(self.origin) > position_s

    def seek_roughly(self, time_s: float) -> None:
        """Move to a packet of any stream before a time; to the first packet if that fails."""
        self.rewind()
        if time_s <= 0 or (self.index is not None and not self.index.trusts_seeks):
            return
        try:
            self._number = None
            self.container.seek(int((self.origin + Fraction(time_s)) * av.time_base))
        except (av.FFmpegError, OSError):
            self.rewind()

    def _read_to(self, number: int) -> None:
        """Read packets, without decoding them, up to the one with this number."""
        if self._number is None or self._number > number:
            self.rewind()
        else:
            self._packets = self.demux()
        for packet in self._packets:
            if self._number is not None and self._number > number:
                self._packets = _put_back(packet, self._packets)
                self._is_sought = True
                return

    def _seek_by_time(self, time_s: float) -> float | None:
        """Seek by the demuxer, which may land on another keyframe than the last before the time."""
        aim, step = time_s, 1.0
        self._number = None
        for _ in range(_SEEK_ATTEMPTS):
            ticks = int((self._packet_origin() + Fraction(aim)) / self.time_base)
            try:
                self.container.seek(ticks, stream=self.stream)
            except (av.FFmpegError, OSError):
                return None
            found = self._skip_to_keyframe()
            if found is not None and found <= time_s + 1e-6:
                return found
            if aim <= 0:
                return None
            # Some containers seek past the target, because their index has decoding times. Try 1,
            # then 4 and 16 s earlier.
            aim = max(0.0, aim - step)
            step *= 4
        return None

    def _skip_to_keyframe(self) -> float | None:
        """Skip packets up to the next keyframe, whose time is returned; None if there is none."""
        self._packets = self.demux()
        for packet in self._packets:
            time = self.packet_time(packet)
            if packet.is_keyframe and time is not None:
                # The packet itself must still be decoded.
                self._packets = _put_back(packet, self._packets)
                self._is_sought = True
                return float(time)
        return None

    def packet_time(self, packet: av.Packet) -> Fraction | None:
        """Time of a packet of any stream, in seconds from the video's first frame."""
        ticks = packet.pts
        if ticks is None or self._by_decoding_time:
            ticks = packet.dts
        if ticks is None or not packet.time_base:
            return None
        return ticks * packet.time_base - self._packet_origin()

    def _packet_origin(self) -> Fraction:
        # A decoder returns the first frame some packets after the first packet, and its decoding
        # time is that of the later packet. So packets count from the first packet's time, and
        # frames from the first frame's.
        if self._by_decoding_time:
            return (self.stream.start_time or 0) * self.time_base
        return self.origin

    @property
    def time_base(self) -> Fraction:
        """Duration of a tick of the video's time stamps, in seconds."""
        return self.stream.time_base or Fraction(1, av.time_base)


def _put_back(packet: av.Packet, rest: Iterator[av.Packet]) -> Iterator[av.Packet]:
    yield packet
    yield from rest

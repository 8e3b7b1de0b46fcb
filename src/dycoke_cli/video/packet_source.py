"""Packets of the video stream of an open file: reading them in order, seeking, and their times.

Real files are damaged, truncated, or lack an index or time stamps. So packets end at the first
unreadable place, and a seek that a file doesn't support returns None instead of raising an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, Literal, get_args

import av
from av.packet import PacketSideData

from dycoke_cli.errors import VideoError
from dycoke_cli.video.containers import choose_stream, most_pictures, open_container
from dycoke_cli.video.file_layout import FileLayout, layout_of
from dycoke_cli.video.frame_index import FrameIndex
from dycoke_cli.video.frame_rate import rate_of
from dycoke_cli.video.limits import check_entries

_SEEK_ATTEMPTS = 4
# AVI has no presentation times. FFmpeg guesses them, and they run backwards if a codec reorders
# frames. The decoding times of frames are correct, once frames are in display order.
_BY_DECODING_TIME = ("avi",)
# Side data of a packet that holds for all later packets: a demuxer sends it once.
LastingKind = Literal["palette", "new_extradata", "param_change"]
_LASTING: tuple[LastingKind, ...] = get_args(LastingKind)


class PacketSource:
    """Packets of an open video stream; not thread-safe.

    Attributes:
        name: of the file, escaped for a terminal.
        stream: video stream (replaced by `rewind`).
        rate: frames per second.
        interval: usual time between two frames, in seconds.
        origin: time stamp of the first frame, in seconds; all other times are relative to it.
        layout: structure of the file; empty of a live source.
        without_edits: whether the edit list of the stream is ignored.
        index: of all frames; None before it is read, and of a live source.
        by_decoding_time: whether frames are timed by their decoding times.
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
        self.index: FrameIndex | None = None
        self._file = file
        self.layout = FileLayout(0)
        self._begin()
        self.most_pictures = most_pictures(self.container)
        self.by_decoding_time = self.container.format.name in _BY_DECODING_TIME
        try:
            self.stream = choose_stream(self.container, stream, name)
            # Browsers ignore an edit list that shows nothing.
            is_mp4 = self.container.format.name.startswith("mov,")
            self.without_edits = is_mp4 and self.stream.id in self.layout.hidden_tracks
            if self.without_edits:
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
        self.container = open_container(self._file, self.name, self.most_pixels)

    def _reopen(self) -> None:
        index, most, without = self.stream.index, self.most_pixels, self.without_edits
        self.container.close()
        self.container = open_container(self._file, self.name, most, without_edits=without)
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
        return min(start - self.packet_origin, Fraction(0))

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

    def read_index(self) -> FrameIndex:
        """Read all packets; `rewind` afterwards."""
        self.rewind()
        index = FrameIndex.of(self.container, self.stream, self.interval, self._timed())
        # A seek would skip what holds from a packet on.
        index.trusts_seeks &= not self.undecoded
        return index

    def _timed(self) -> Iterator[av.Packet]:
        """Packets of all streams with the times of their frames."""
        pictures = 0
        for packet in self.demux(*self.container.streams):
            if self.by_decoding_time:
                packet.pts = packet.dts
            pictures += packet.stream_index == self.stream.index and not packet.is_discard
            check_entries(self.name, pictures)
            if self.most_pictures is not None and pictures > self.most_pictures:
                raise VideoError(
                    f"{self.name} has more than {self.most_pictures:,} pictures: convert it to "
                    "MP4, in which each of them can be found"
                )
            yield packet

    def _keep_lasting(self, packet: av.Packet) -> None:
        for kind in _LASTING:
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
        index, origin = self.index, float(self.packet_origin)
        assert index is not None, "planned before"
        found = index.keyframe_before(time_s + origin)
        if found is None:
            self.rewind()
            return 0.0
        number, keyframe_s = found
        # MPEG-TS can't seek to its first keyframe.
        if index.trusts_seeks and keyframe_s > origin:
            sought = self._seek_by_time(time_s)
            if sought is not None and index.has(sought + origin):
                return sought
            index.trusts_seeks = False
        self._read_to(number)
        return keyframe_s - origin

    def leads_on(self, time_s: float, position_s: float) -> bool:
        """Whether a seek to a time would skip frames after the current position."""
        index, origin = self.index, float(self.packet_origin)
        found = None if index is None else index.keyframe_before(time_s + origin)
        if index is None or found is None:
            return False
        number, keyframe_s = found
        is_unread = index.trusts_seeks or self._number is None or self._number <= number
        return is_unread and keyframe_s - origin > position_s

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
            ticks = int((self.packet_origin + Fraction(aim)) / self.time_base)
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
        if ticks is None or self.by_decoding_time:
            ticks = packet.dts
        if ticks is None or not packet.time_base:
            return None
        return ticks * packet.time_base - self.packet_origin

    @property
    def packet_origin(self) -> Fraction:
        """Time stamp of the first packet, in seconds."""
        # A decoder returns the first frame some packets after the first packet, and its decoding
        # time is that of the later packet. So packets count from the first packet's time, and
        # frames from the first frame's.
        if self.by_decoding_time:
            return (self.stream.start_time or 0) * self.time_base
        return self.origin

    @property
    def time_base(self) -> Fraction:
        """Duration of a tick of the video's time stamps, in seconds."""
        return self.stream.time_base or Fraction(1, av.time_base)


def _put_back(packet: av.Packet, rest: Iterator[av.Packet]) -> Iterator[av.Packet]:
    yield packet
    yield from rest

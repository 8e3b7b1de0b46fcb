"""One video stream of an open file: its packets, its pictures, and moving about in time.

Files in the wild are damaged, cut off, without an index or without time stamps. Everything here
goes on after a bad packet and counts it; what can't be done is said by the return value.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import BinaryIO

import av
import av.logging

from dycoke_cli.errors import VideoError
from dycoke_cli.unicode import display_name
from dycoke_cli.video import limits
from dycoke_cli.video.containers import choose_stream, most_pictures, open_container
from dycoke_cli.video.decoding_memory import decoding_bytes, threads_for
from dycoke_cli.video.open_file import open_file

_SEEK_ATTEMPTS = 4
# Seen with streams that carry no rate at all; only used where time stamps are missing too.
_ASSUMED_RATE = Fraction(25)
# AVI has no presentation times, and FFmpeg's stand-ins for them run backwards where a codec
# reorders frames; decoding times, in the order of display, are right.
_BY_DECODING_TIME = ("avi",)


@dataclass(frozen=True)
class Picture:
    """A decoded frame, its time in seconds from the video's first frame, and its size as stored."""

    time_s: float
    frame: av.VideoFrame
    size: tuple[int, int]


class VideoSource:
    """An open video. Made by `open_video`; read by one thread at a time.

    Attributes:
        name: the file's name, fit for a terminal.
        container: the open container (another one after `rewind`).
        stream: the video stream that is read (another one after `rewind`).
        interval: usual time between two frames, in seconds.
        origin: time of the first frame in the file's own clock, in seconds.
        damaged: time stamps of the bad packets and pictures met so far.
        packets_decoded: packets given to the decoder so far.
        seekable: False once seeking has failed.
        most_pictures: that the file may have; None for any number.
    """

    def __init__(self, file: BinaryIO, stream: int | None, name: str) -> None:
        self.name = name
        self.origin = Fraction(0)
        self.damaged: set[int | None] = set()
        self.packets_decoded = 0
        self.seekable = True
        self._file = file
        self.container = open_container(file, name, limits.MAX_PICTURE_PIXELS)
        self.most_pictures = most_pictures(self.container)
        self._by_decoding_time = self.container.format.name in _BY_DECODING_TIME
        try:
            self.stream = choose_stream(self.container, stream, name)
            self._prepare_decoder()
        except BaseException:
            self.container.close()
            raise
        self.interval = 1 / (self.stream.average_rate or self.stream.guessed_rate or _ASSUMED_RATE)
        self._packets = self.demux()
        self._last: Fraction | None = None

    def _prepare_decoder(self) -> None:
        context = self.stream.codec_context
        if context is None:
            raise VideoError(
                f"{self.name} is coded in a way that FFmpeg has no decoder for: convert it to H.264"
            )
        limits.check_size(self.name, context.width, context.height)
        # By decoding time, frames and packets must come one by one.
        threads = 1 if self._by_decoding_time else threads_for(context)
        context.thread_type = "AUTO" if threads > 1 else "SLICE"
        if threads > 1:
            context.thread_count = threads
        # A picture that grows in mid-stream is refused by the decoder before it takes memory.
        context.options = {"max_pixels": str(limits.MAX_PICTURE_PIXELS)}

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of a picture, as the container says."""
        return self.stream.codec_context.width, self.stream.codec_context.height

    @property
    def decoding_bytes(self) -> int:
        """Of memory that decoding takes, by what the container says of the stream."""
        context = self.stream.codec_context
        return decoding_bytes(context, threads_for(context))

    def close(self) -> None:
        """Close the container; the file is the caller's."""
        self.container.close()
        # It refers to this source: pictures would stay in memory until Python looks for circles.
        self._packets = iter(())

    def rewind(self) -> None:
        """Go back to the beginning by opening the file again: works where seeking doesn't."""
        index = self.stream.index
        self.container.close()
        self.container = open_container(self._file, self.name, limits.MAX_PICTURE_PIXELS)
        self.stream = choose_stream(self.container, index, self.name)
        self._prepare_decoder()
        self._packets = self.demux()
        self._last = None

    def demux(self, *streams: av.stream.Stream) -> Iterator[av.Packet]:
        """Read packets from where the file stands, up to its end or to where it can't be read.

        Args:
            streams: of `container`; the video stream that is read, if none is given.

        Raises:
            MemoryError: there isn't enough of it for a packet.
        """
        try:
            for packet in self.container.demux(*(streams or (self.stream,))):
                if packet.size:  # an empty one only asks the decoder for what it still holds
                    yield packet
        except MemoryError:
            raise
        except (av.FFmpegError, OSError):
            return
        except IndexError:
            # Behind the last packet, PyAV trips over streams that appeared only while reading
            # (broadcasts do that). Everything has been read by then.
            return

    def seek(self, time_s: float) -> float | None:
        """Move to the keyframe at or before a time.

        Returns:
            the keyframe's time, or None when that can't be done; then the position is undefined
            and `rewind` is the way on.
        """
        aim, step = time_s, 1.0
        for _ in range(_SEEK_ATTEMPTS):
            ticks = int((self._packet_origin() + Fraction(aim)) / self._time_base())
            try:
                self.container.seek(ticks, stream=self.stream)
            except (av.FFmpegError, OSError):
                return None
            found = self._skip_to_keyframe()
            if found is not None and found <= time_s + 1e-6:
                return found
            if aim <= 0:
                return None
            # Some containers land behind the aim (their index has decoding times): aim earlier.
            aim = max(0.0, aim - step)
            step *= 4
        return None

    def _skip_to_keyframe(self) -> float | None:
        self._packets = self.demux()
        for packet in self._packets:
            time = self.packet_time(packet)
            if packet.is_keyframe and time is not None:
                self._packets = _put_back(packet, self._packets)
                self._last = None
                return float(time)
        return None

    def first_picture(self) -> Picture | None:
        """Decode the first picture of a freshly opened file and let times count from it.

        None when the whole file holds none that can be decoded.
        """
        picture = next(self.pictures(), None)
        if picture is not None and self._last is not None:
            self.origin, self._last = self._last, Fraction(0)
            return replace(picture, time_s=0.0)
        return None

    def pictures(self) -> Iterator[Picture]:
        """Decode from where the file stands to its end. Bad packets are counted and left out."""
        for packet in self._packets:
            self.packets_decoded += 1
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: av.Packet | None) -> Iterator[Picture]:
        try:
            frames = self.stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError):
            self.damaged.add(packet.pts if packet else None)
            return
        for frame in frames:
            time = self._frame_time(frame)
            if frame.is_corrupt:
                self.damaged.add(frame.pts)
            else:
                yield Picture(float(time), frame, (frame.width, frame.height))

    def _frame_time(self, frame: av.VideoFrame) -> Fraction:
        # Raw streams have no time stamps: frames then follow each other at the usual interval.
        ticks = frame.dts if self._by_decoding_time else frame.pts
        if ticks is not None:
            self._last = ticks * self._time_base() - self.origin
        elif self._last is not None:
            self._last += self.interval
        else:
            self.seekable = False
            self._last = Fraction(0)
        return self._last

    def packet_time(self, packet: av.Packet) -> Fraction | None:
        """Time of a packet of any stream, in seconds from the video's first frame."""
        ticks = packet.pts
        if ticks is None or self._by_decoding_time:
            ticks = packet.dts
        if ticks is None or not packet.time_base:
            return None
        return ticks * packet.time_base - self._packet_origin()

    def _packet_origin(self) -> Fraction:
        # By decoding time a frame comes out some packets later than its own went in, so packets
        # count from the first packet as frames do from the first frame.
        if self._by_decoding_time:
            return (self.stream.start_time or 0) * self._time_base()
        return self.origin

    def _time_base(self) -> Fraction:
        return self.stream.time_base or Fraction(1, av.time_base)


@contextmanager
def open_video(
    path: str | os.PathLike[str], stream: int | None = None, shown_as: str | None = None
) -> Iterator[VideoSource]:
    """Open a file's video stream, and close it afterwards.

    Args:
        path: the file.
        stream: index of the stream in its container; None for the best.
        shown_as: what to call the file in errors; its escaped path if None.

    Raises:
        VideoError: there is no file, or no video in it.
        UsageError: `stream` isn't the index of a video stream.
    """
    name = shown_as or display_name(path)
    with open_file(path, name) as file, video_in(file, stream, name) as source:
        yield source


@contextmanager
def video_in(file: BinaryIO, stream: int | None, name: str) -> Iterator[VideoSource]:
    """The video stream of an open file, which stays the caller's. Otherwise as `open_video`."""
    # FFmpeg's own lines on stderr say nothing that our errors and warnings don't say better.
    av.logging.set_level(None)
    source = VideoSource(file, stream, name)
    try:
        yield source
    finally:
        source.close()


def _put_back(packet: av.Packet, rest: Iterator[av.Packet]) -> Iterator[av.Packet]:
    yield packet
    yield from rest

"""Packets and decoded frames of the video stream of an open file, each with its exact time.

Real files are damaged, truncated, or lack an index or time stamps. So packets end at the first
unreadable place, a seek that a file doesn't support returns None instead of raising an error, and
damaged packets are counted and skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import chain
from typing import BinaryIO, Literal

import av

from dycoke_cli.errors import VideoError
from dycoke_cli.resources import usable_cpus
from dycoke_cli.video import limits
from dycoke_cli.video.color import has_alpha
from dycoke_cli.video.containers import PICTURES, choose_stream, open_container
from dycoke_cli.video.frame_index import SAME_S, FrameIndex
from dycoke_cli.video.limits import check_entries

# Some containers seek past a keyframe, because their index has decoding times.
_SEEK_LEAD_S = 1
# Image files have no index, so reaching the last frame means decoding all of them.
_MAX_PICTURES = 100_000
# Frames per second where a file says nothing. Frames have times of their own.
_ASSUMED_RATE = Fraction(25)
# AVI has no presentation times. FFmpeg guesses them, and they run backwards if a codec reorders
# frames. The decoding times of frames are correct, once frames are in display order.
_BY_DECODING_TIME = ("avi",)
# Side data of a packet that holds for all later packets: a demuxer sends it once.
_LASTING: tuple[Literal["palette", "new_extradata", "param_change"], ...] = (
    "palette", "new_extradata", "param_change",
)  # fmt: skip


# Estimate of the memory for decoding a stream, from its headers only.


# Maximum reference frames of a decoder, by the standard of the codec.
_REFERENCES = {"h264": 17, "hevc": 17, "vvc": 17, "av1": 10, "vp9": 10, "vp8": 4}
_DEFAULT_REFERENCES = 2
# Decoded frames outside the decoder: the ones before and after a wanted time, and the one that is
# converted or copied.
_HELD = 3
# Factor over the samples of a frame: padding, motion vectors, prediction buffers.
_OVERHEAD = 1.3
_UNKNOWN_BITS = 32
# Frames in RGB: before a wanted time, after it, as an array, and rotated.
_CONVERTED = 4
# Bytes per pixel to blend a transparent frame at its full size: in RGBA and in RGB.
_BLENDED = 4 + 3
_LARGE_PIXELS = 1_000_000
_MAX_THREADS = 16
# Each thread of frame-parallel decoding holds another frame; all of these together are limited.
_THREAD_BYTES = 256 * 1024**2


def threads_for(context: av.VideoCodecContext) -> int:
    """Number of frames to decode in parallel.

    That pays off for large frames. For small ones it only decodes more frames than needed, and
    makes it unclear which packet was damaged. For huge ones it needs too much memory.
    """
    if context.width * context.height <= _LARGE_PIXELS:
        return 1
    affordable = _THREAD_BYTES // _picture_bytes(context)
    return max(1, min(threads_at_most(), affordable))


@cache
def threads_at_most() -> int:
    """Maximum number of threads: FFmpeg's own default."""
    return min(_MAX_THREADS, usable_cpus() + 1)


def _picture_bytes(context: av.VideoCodecContext) -> int:
    # For some codecs the pixel format is known only once a frame is decoded.
    bits = context.format.padded_bits_per_pixel if context.format else 0
    return int(context.width * context.height * (bits or _UNKNOWN_BITS) / 8 * _OVERHEAD)


@dataclass(frozen=True)
class Picture:
    """Decoded frame."""

    time_s: Fraction  # from the video's first frame, exact
    frame: av.VideoFrame  # as decoded, or scaled down


class VideoSource:
    """Open video stream, whose packets are decoded. Not thread-safe.

    Args:
        file: open file, which the caller closes.
        stream: index of the stream in its container; None for the best.
        name: for errors, escaped for a terminal.
        most_pixels: of a frame; None for the usual limit.

    Attributes:
        name: likewise.
        container: open container (replaced by `rewind`).
        stream: video stream (replaced by `rewind`).
        most_pixels: likewise; larger ones aren't decoded.
        rate: frames per second; None if the file doesn't say.
        interval: usual time between two frames, in seconds.
        origin: time stamp of the first frame, in seconds; all other times are relative to it.
        index: of all frames; None before it is read, and of a live source.
        by_decoding_time: whether frames are timed by their decoding times.
        failure: what ended the packets before the end; None if nothing did.
        most_pictures: maximum number of frames of an image file; None for a video.
        damaged: time stamps of the damaged packets and frames so far.
    """

    container: av.container.InputContainer
    _delays_frames = True  # whether several threads may decode, each with a frame of its own

    def __init__(
        self, file: BinaryIO, stream: int | None, name: str, most_pixels: int | None = None
    ) -> None:
        usual = limits.MAX_PICTURE_PIXELS
        self.most_pixels = usual if most_pixels is None else min(most_pixels, usual)
        self.name, self.origin, self._file = name, Fraction(0), file
        self.failure: Exception | None = None
        self.index: FrameIndex | None = None
        self.damaged: set[int | None] = set()
        self._starts_untimed = False
        self._begin()
        try:
            kind = self.container.format.name
            self.most_pictures = _MAX_PICTURES if kind in PICTURES else None
            self.by_decoding_time = kind in _BY_DECODING_TIME
            self.stream = choose_stream(self.container, stream, name)
            # FFmpeg declares 25 for each single picture.
            is_picture = kind.endswith("_pipe")
            rate = self.stream.average_rate or self.stream.guessed_rate
            self.rate = None if is_picture else rate
            self.interval = 1 / (self.rate or _ASSUMED_RATE)
            self._start()
        except BaseException:
            self.container.close()
            raise

    def _begin(self) -> None:
        self.container = open_container(self._file, self.name, self.most_pixels)

    def _start(self) -> None:
        """Prepare reading a container that was opened."""
        # Number of the next packet, counted over all streams; None after a seek.
        self._number: int | None = 0
        # Of the video, from the current position on; after a seek they begin with its keyframe.
        self._packets = self.demux()
        self._is_sought = False
        self._last: Fraction | None = None  # time of the frame before
        self._prepare_decoder()

    def _prepare_decoder(self) -> None:
        context = self.stream.codec_context
        if context is None:
            raise VideoError(
                f"{self.name} is coded in a way that FFmpeg has no decoder for: convert it to H.264"
            )
        limits.check_size(self.name, context.width, context.height, self.most_pixels)
        self._decoder = context
        # Decoding times of frames are right only if each packet returns its frame at once, without
        # the delay of frame threads.
        is_prompt = self.by_decoding_time or not self._delays_frames
        threads = 1 if is_prompt else threads_for(context)
        self._decoder.thread_type = "AUTO" if threads > 1 else "SLICE"
        if threads > 1:
            self._decoder.thread_count = threads
        # Frames may grow in mid-stream; the decoder then refuses them before allocating memory.
        self._decoder.options = {"max_pixels": str(limits.padded(self.most_pixels))}

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of a frame, as declared by the container."""
        return self.stream.codec_context.width, self.stream.codec_context.height

    @property
    def decoding_bytes(self) -> int:
        """Estimated memory for decoding the stream, and for conversion to RGB."""
        context = self._decoder
        references = _REFERENCES.get(context.name, _DEFAULT_REFERENCES)
        pixels = context.width * context.height
        converted = _CONVERTED * 3 * min(pixels, limits.MAX_KEPT_PIXELS)
        if context.format is not None and has_alpha(context.format):
            converted += _BLENDED * pixels
        return (references + threads_for(context) + _HELD) * _picture_bytes(context) + converted

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
        index = self.stream.index
        self.container.close()
        self._begin()
        self.stream = choose_stream(self.container, index, self.name)
        self._start()

    def demux(self, *streams: av.stream.Stream) -> Iterator[av.Packet]:
        """Yield packets from the current position to the end, or to the first unreadable place.

        Args:
            streams: of `container`; the video stream if none is given.
        """
        wanted = {stream.index for stream in streams or (self.stream,)}
        try:
            # Packets of all streams, because the index counts them.
            for packet in self.container.demux():
                if not packet.size:  # PyAV ends with empty packets, which would flush the decoder
                    continue
                if self._number is not None:
                    self._number += 1
                if packet.stream_index in wanted:
                    yield packet
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
        if index.restarts:
            raise VideoError(
                f"{self.name} has time stamps that begin again in mid-file (it is joined from "
                "several recordings, or damaged): make them continuous with `ffmpeg -i "
                "recording.ts -c copy whole.mkv`, or join the parts with `ffmpeg -f concat`"
            )
        if self._has_lasting:
            index.forget_keyframes()
        return index

    def _timed(self) -> Iterator[av.Packet]:
        """Packets of all streams with the times of their frames."""
        pictures, self._has_lasting, index = 0, False, self.stream.index
        for packet in self.demux(*self.container.streams):
            if packet.stream_index == index:
                self._has_lasting |= any(
                    one.data_type in _LASTING for one in packet.iter_sidedata()
                )
                pictures += not packet.is_discard
            if self.by_decoding_time:
                packet.pts = packet.dts
            check_entries(self.name, pictures)
            if self.most_pictures is not None and pictures > self.most_pictures:
                raise VideoError(
                    f"{self.name} has more than {self.most_pictures:,} pictures: convert it to "
                    "MP4, in which each of them can be found"
                )
            yield packet

    def seek(self, time_s: float) -> float | None:
        """Move to the keyframe at or before a time.

        Returns:
            Time of the keyframe; None if there is none, and the position is the beginning.
        """
        self._decoder.flush_buffers()
        self._last = None
        index, origin = self.index, float(self.packet_origin)
        assert index is not None, "planned before"
        found = index.keyframe_before(time_s + origin)
        if found is None:
            self.rewind()
            return None
        number, keyframe_s = found
        # MPEG-TS can't seek to its first keyframe.
        if index.trusts_seeks and keyframe_s > origin:
            if self._seek_to(keyframe_s):
                return keyframe_s - origin
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

    def _read_to(self, number: int) -> None:
        """Read packets, without decoding them, up to the one with this number."""
        if self._number is None or self._number > number:
            self.rewind()
        else:
            self._packets = self.demux()
        for packet in self._packets:
            if self._number is not None and self._number > number:
                self._packets = chain((packet,), self._packets)
                self._is_sought = True
                return

    def _seek_to(self, keyframe_s: float) -> bool:
        """Have the demuxer seek to a keyframe; whether it is the next packet of the video."""
        self._number = None
        try:
            ticks = int((Fraction(keyframe_s) - _SEEK_LEAD_S) / self.time_base)
            self.container.seek(ticks, stream=self.stream)
        except (av.FFmpegError, OSError):
            return False
        self._packets = self.demux()
        for packet in self._packets:
            time = self.packet_time(packet)
            if packet.is_keyframe and time is not None:
                behind_s = float(time + self.packet_origin) - keyframe_s
                if abs(behind_s) <= SAME_S:
                    # The packet itself must still be decoded.
                    self._packets = chain((packet,), self._packets)
                    self._is_sought = True
                    return True
                if behind_s > 0:
                    return False
        return False

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

    def use(self, index: FrameIndex) -> None:
        """Seek by this index from now on, and count times by its clock; then `rewind`."""
        self.index = index
        if self._starts_untimed and index.untimed:
            self.origin = index.first_s - index.untimed * self.interval

    def first_picture(self) -> Picture | None:
        """Decode the first frame of a newly opened file, and make it the origin of all times.

        None if no frame of the file can be decoded.
        """
        picture = next(self.pictures(), None)
        if picture is not None and self._last is not None:
            self.origin, self._last = self._last, Fraction(0)
            return replace(picture, time_s=Fraction(0))
        return None

    def pictures(self) -> Iterator[Picture]:
        """Yield decoded frames from the current position on; damaged packets are skipped."""
        for packet in self._packets:
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: av.Packet | None) -> Iterator[Picture]:
        try:
            frames = self._decoder.decode(packet)
        except MemoryError:  # FFmpeg's own is an FFmpegError, too, but not a damaged packet
            raise
        except (av.FFmpegError, OSError):
            self.damaged.add(packet.pts if packet else None)
            return
        for frame in frames:
            # Damaged frames count, too: a frame without a time stamp follows the one before it.
            time = self._frame_time(frame)
            if frame.is_corrupt:
                self.damaged.add(frame.pts)
            elif time is not None:
                yield Picture(time, frame)

    def _frame_time(self, frame: av.VideoFrame) -> Fraction | None:
        """Time of a frame, from its time stamp or that of the frame before.

        None for frames between a keyframe that was sought and the first time stamp: they are
        displayed before it.
        """
        ticks = frame.dts if self.by_decoding_time else frame.pts
        if ticks is not None:
            self._last = ticks * self.time_base - self.origin
        elif self._last is not None:
            self._last += self.interval
        elif not self._is_sought:
            # Matroska's times below 0 are lost, too; they are known again from the index.
            self._starts_untimed = True
            self._last = Fraction(0)
        return self._last

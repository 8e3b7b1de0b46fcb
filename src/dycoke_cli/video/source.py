"""Decoded frames of an open file, each with its exact time, and the memory that they take.

Damaged packets are counted and skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import BinaryIO

import av
import av.logging

from dycoke_cli.errors import VideoError
from dycoke_cli.resources import usable_cpus
from dycoke_cli.video import limits
from dycoke_cli.video.color import has_alpha
from dycoke_cli.video.containers import has_separate_alpha, refused_size
from dycoke_cli.video.frame_index import FrameIndex
from dycoke_cli.video.packet_source import PacketSource

# Estimate of the memory for decoding a stream, from its headers only.


# Maximum reference frames of a decoder, by the standard of the codec.
_REFERENCES = {"h264": 17, "hevc": 17, "vvc": 17, "av1": 10, "vp9": 10, "vp8": 4}
_DEFAULT_REFERENCES = 2
# Decoded frames outside the decoder: the ones before and after a wanted time, and the one that is
# converted or copied. Huge frames are scaled at once, so there is only the last one.
_HELD, _HUGE_HELD = 3, 1
# Factor over the samples of a frame: padding, motion vectors, prediction buffers.
_OVERHEAD = 1.3
_UNKNOWN_BITS = 32
# Frames in RGB: before a wanted time, after it, as an array, and rotated.
_CONVERTED = 4
# Bytes per pixel to blend a transparent frame at its full size: in RGBA and in RGB.
_BLENDED = 4 + 3
_LARGE_PIXELS = 1_000_000
_MAX_THREADS = 16
# Decoders that know from a packet's header whether other frames are decoded from its frame, and
# containers of which every packet has a time stamp, as FFmpeg names both.
_SAYS_REFERENCES = {"h264"}
_ALL_TIMED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
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


def decoding_bytes(context: av.VideoCodecContext, threads: int) -> int:
    """Bytes for decoding and conversion to RGB."""
    references = _REFERENCES.get(context.name, _DEFAULT_REFERENCES)
    pixels = context.width * context.height
    held = _HELD if pixels <= limits.MAX_HELD_PIXELS else _HUGE_HELD
    converted = _CONVERTED * 3 * min(pixels, limits.MAX_KEPT_PIXELS)
    if context.format is not None and has_alpha(context.format):
        converted += _BLENDED * pixels
    return (references + threads + held) * _picture_bytes(context) + converted


def _picture_bytes(context: av.VideoCodecContext) -> int:
    # For some codecs the pixel format is known only once a frame is decoded.
    bits = context.format.padded_bits_per_pixel if context.format else 0
    return int(context.width * context.height * (bits or _UNKNOWN_BITS) / 8 * _OVERHEAD)


@dataclass(frozen=True)
class Picture:
    """Decoded frame."""

    time_s: Fraction  # from the video's first frame, exact
    frame: av.VideoFrame  # as decoded, or scaled down
    size: tuple[int, int]  # stored width and height
    transparent: bool = False  # whether it was partly transparent, and is blended over white


class VideoSource(PacketSource):
    """Open video stream, whose packets are decoded. Made by `video_in`; not thread-safe.

    Attributes:
        damaged: time stamps of the damaged packets and frames so far.
        packets_decoded: number of packets decoded so far.
        without_alpha: whether the stream has transparency that isn't read.
        needed_from: seconds; of earlier frames only those are decoded that others are decoded from.
            None for all.
        skipped: whether a packet was skipped for that since this was last set to False.
    """

    _delays_frames = True  # whether several threads may decode, each with a frame of its own

    def __init__(
        self,
        file: BinaryIO,
        stream: int | None,
        name: str,
        raw_rate: float | None = None,
        most_pixels: int | None = None,
    ) -> None:
        usual = limits.MAX_PICTURE_PIXELS
        self.most_pixels = usual if most_pixels is None else min(most_pixels, usual)
        super().__init__(file, stream, name, raw_rate)
        self.damaged: set[int | None] = set()
        self.packets_decoded = 0
        self.needed_from: Fraction | None = None
        self.skipped = False
        self._last: Fraction | None = None
        self._starts_untimed = False
        try:
            self._prepare_decoder()
        except BaseException:
            self.container.close()
            raise

    def _prepare_decoder(self) -> None:
        context = self.stream.codec_context
        self.without_alpha = has_separate_alpha(self.container, self.stream)
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
        """Estimated memory for decoding the stream."""
        return decoding_bytes(self._decoder, threads_for(self.stream.codec_context))

    def rewind(self) -> None:
        """See `PacketSource`."""
        super().rewind()
        self._prepare_decoder()
        self._last = None

    def seek(self, time_s: float) -> float | None:
        """See `PacketSource`."""
        self._decoder.flush_buffers()
        self._last = None
        return super().seek(time_s)

    def use(self, index: FrameIndex) -> None:
        """Seek by this index from now on, and count times by its clock; then `rewind`."""
        self.index = index
        if self._starts_untimed and index.untimed:
            self.origin = index.first_s - index.untimed * self.interval
        self.seekable = self.seekable or index.has_keyframes

    def first_picture(self) -> Picture | None:
        """Decode the first frame of a newly opened file, and make it the origin of all times.

        None if no frame of the file can be decoded.
        """
        picture = next(self.pictures(), None)
        if picture is None and (size := refused_size(self._file, self.most_pixels)) is not None:
            limits.check_size(self.name, *size, self.most_pixels)
        if picture is not None and self._last is not None:
            self.origin, self._last = self._last, Fraction(0)
            return replace(picture, time_s=Fraction(0))
        return None

    def pictures(self) -> Iterator[Picture]:
        """Yield decoded frames from the current position on; damaged packets are skipped."""
        for packet in self._packets:
            self.packets_decoded += 1
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: av.Packet | None) -> Iterator[Picture]:
        if packet is not None:
            for kind, data in self.undecoded.items():
                if not packet.has_sidedata(kind):
                    packet.set_sidedata(data)
            self.undecoded = {}
            may_skip = self._may_skip(packet)
            self.skipped |= may_skip
            self._decoder.skip_frame = "NONREF" if may_skip else "DEFAULT"
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
                yield Picture(time, frame, (frame.width, frame.height))

    def _may_skip(self, packet: av.Packet) -> bool:
        """Whether a frame isn't needed, unless others are decoded from it."""
        known = self._decoder.name in _SAYS_REFERENCES and packet.pts is not None
        if self.needed_from is None or not known or self.container.format.name not in _ALL_TIMED:
            return False
        time = self.packet_time(packet)
        return time is not None and time < self.needed_from

    def _frame_time(self, frame: av.VideoFrame) -> Fraction | None:
        """Time of a frame, from its time stamp or that of the frame before.

        Raw streams have no time stamps; their frames follow at the usual interval. Such a stream
        can't be sought, because the time at the new position would be unknown. None for frames
        between a keyframe that was sought and the first time stamp: they are displayed before it.
        """
        ticks = frame.dts if self.by_decoding_time else frame.pts
        if ticks is not None:
            self._last = ticks * self.time_base - self.origin
        elif self._last is not None:
            self._last += self.interval
        elif not self._is_sought:
            # Matroska's times below 0 are lost, too; they are known again from the index.
            self._starts_untimed = True
            self.seekable = self.index is not None and self.seekable
            self._last = Fraction(0)
        return self._last


@contextmanager
def video_in(
    file: BinaryIO,
    stream: int | None,
    name: str,
    raw_rate: float | None = None,
    most_pixels: int | None = None,
) -> Iterator[VideoSource]:
    """Open the video stream of an open file, which the caller closes.

    Args:
        stream: index of the stream in its container; None for the best.
        name: for errors.
        raw_rate: frames per second of a raw stream, or None.
        most_pixels: of a frame; None for the usual limit.
    """
    # FFmpeg's messages on stderr add nothing to our errors and warnings.
    av.logging.set_level(None)
    source = VideoSource(file, stream, name, raw_rate, most_pixels)
    try:
        yield source
    finally:
        source.close()

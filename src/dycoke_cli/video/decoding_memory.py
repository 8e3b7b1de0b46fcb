"""Estimate of the memory for decoding a stream, from its headers only."""

from __future__ import annotations

from functools import cache

import av

from dycoke_cli.resources import usable_cpus
from dycoke_cli.video import limits
from dycoke_cli.video.transparency import has_alpha

# Maximum reference frames of a decoder, by the standard of the codec.
_REFERENCES = {"h264": 17, "hevc": 17, "vvc": 17, "av1": 10, "vp9": 10, "vp8": 4}
# With transparency, which is decoded by a second decoder.
_REFERENCES |= {"libvpx-vp9": 2 * _REFERENCES["vp9"], "libvpx": 2 * _REFERENCES["vp8"]}
_DEFAULT_REFERENCES = 2
# Decoded frames outside the decoder: the ones before and after a wanted time, and the one that is
# converted or copied. Huge frames are scaled at once, so there is only the last one.
_HELD, _HUGE_HELD = 3, 1
# Factor over the samples of a frame: padding, motion vectors, prediction buffers.
_OVERHEAD = 1.3
_TILED = 1
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


def decoding_bytes(
    context: av.VideoCodecContext, threads: int, grid_pixels: int | None = None
) -> int:
    """Bytes for decoding and conversion to RGB.

    Args:
        grid_pixels: of the picture that the frames are the tiles of, or None.
    """
    references = _REFERENCES.get(context.name, _DEFAULT_REFERENCES)
    pixels = grid_pixels or context.width * context.height
    held = _HELD if pixels <= limits.MAX_HELD_PIXELS else _HUGE_HELD
    # A picture of tiles is held once more while it is put together.
    tiles = 0 if grid_pixels is None else (_TILED + held) * _picture_bytes(context, grid_pixels)
    pictures = references + threads + (held if grid_pixels is None else 0)
    converted = _CONVERTED * 3 * min(pixels, limits.MAX_KEPT_PIXELS)
    if context.format is not None and has_alpha(context.format):
        converted += _BLENDED * pixels
    return pictures * _picture_bytes(context) + tiles + converted


def _picture_bytes(context: av.VideoCodecContext, pixels: int | None = None) -> int:
    # For some codecs the pixel format is known only once a frame is decoded.
    bits = context.format.padded_bits_per_pixel if context.format else 0
    pixels = pixels or context.width * context.height
    return int(pixels * (bits or _UNKNOWN_BITS) / 8 * _OVERHEAD)

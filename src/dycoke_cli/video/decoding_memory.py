"""How much memory it takes to decode a stream, by what is known before its first picture."""

from __future__ import annotations

from functools import cache

import av

from dycoke_cli.resources import usable_cpus
from dycoke_cli.video import limits

# Pictures that a decoder keeps to refer to, by the most that its standard allows.
_REFERENCES = {"h264": 17, "hevc": 17, "vvc": 17, "av1": 10, "vp9": 10, "vp8": 4}
_FEW_REFERENCES = 2
# That before a wanted time, the one after it, and the one that is converted or copied; of huge ones
# only that, for they are scaled at once.
_IN_HAND, _HUGE_IN_HAND = 3, 1
# Beside its samples: edges, motion vectors, what is predicted from.
_BESIDE_SAMPLES = 1.3
_UNKNOWN_BITS = 32
# Converted: before a wanted time, after it, as an array, turned.
_CONVERTED = 4
_LARGE_PIXELS = 1_000_000
_MOST_THREADS = 16
# Each thread that decodes a frame of its own holds another picture.
_BYTES_OF_THREADS = 256 * 1024**2


def threads_for(context: av.VideoCodecContext) -> int:
    """Frames to decode at once.

    Several pay off when pictures are large; otherwise that only decodes more of them than needed,
    and blurs which packet was the bad one. When they are huge, it takes too much memory.
    """
    if context.width * context.height <= _LARGE_PIXELS:
        return 1
    affordable = _BYTES_OF_THREADS // _picture_bytes(context)
    return max(1, min(threads_at_most(), affordable))


@cache
def threads_at_most() -> int:
    """As many as FFmpeg takes by itself."""
    return min(_MOST_THREADS, usable_cpus() + 1)


def decoding_bytes(context: av.VideoCodecContext, threads: int) -> int:
    """What a decoder takes that works on so many frames at once, and the conversion to RGB."""
    references = _REFERENCES.get(context.name, _FEW_REFERENCES)
    pixels = context.width * context.height
    in_hand = _IN_HAND if pixels <= limits.MAX_HELD_PIXELS else _HUGE_IN_HAND
    pictures = references + threads + in_hand
    converted = _CONVERTED * 3 * min(pixels, limits.MAX_KEPT_PIXELS)
    return pictures * _picture_bytes(context) + converted


def _picture_bytes(context: av.VideoCodecContext) -> int:
    # Some codecs say only in a picture what their pixels are.
    bits = context.format.padded_bits_per_pixel if context.format else 0
    return int(context.width * context.height * (bits or _UNKNOWN_BITS) / 8 * _BESIDE_SAMPLES)

"""From a decoded frame to RGB: with the stream's own range and matrix, or the usual guess."""

from __future__ import annotations

import av
import numpy as np

# The frame's matrix number (ITU-T H.273), as PyAV's converter calls it.
_MATRICES = {
    1: "ITU709",
    4: "FCC",
    5: "ITU601",
    6: "ITU601",
    7: "SMPTE240M",
    9: "BT2020",
    10: "BT2020",
}
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_HDR_TRANSFERS = (16, 18)  # PQ (SMPTE 2084) and HLG


def matrix_name(frame: av.VideoFrame) -> str:
    """Name of the matrix that turns the frame's YUV into RGB: ITU601, ITU709, BT2020, …

    Without a tag, players take BT.709 for HD sizes and BT.601 below, and so does this.
    """
    untagged = "ITU709" if frame.width >= 1280 or frame.height > 576 else "ITU601"
    return _MATRICES.get(int(frame.colorspace), untagged)


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether values run from 0 to 255 (full range) rather than from 16 to 235.

    Without a tag, RGB and grey pictures are full range, and YUV is not.
    """
    if int(frame.color_range) in (_LIMITED_RANGE, _FULL_RANGE):
        return int(frame.color_range) == _FULL_RANGE
    name = frame.format.name
    return frame.format.is_rgb or name.startswith(("yuvj", "gray", "mono", "pal", "ya"))


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether the frame's brightness is coded for HDR screens (PQ or HLG)."""
    return int(frame.color_trc) in _HDR_TRANSFERS


def to_rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """Convert a frame of any pixel format to RGB, uint8 [height, width, 3], scaled to that size.

    An alpha channel is left out, as FFmpeg does; HDR is not tone-mapped.
    """
    same_size = (frame.width, frame.height) == (width, height)
    picture = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=matrix_name(frame),
        src_color_range="JPEG" if is_full_range(frame) else "MPEG",
        dst_color_range="JPEG",
        interpolation="BILINEAR" if same_size else "BICUBIC",
    )
    return picture.to_ndarray()

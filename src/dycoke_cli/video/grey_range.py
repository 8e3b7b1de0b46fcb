"""Stretching of grey frames whose values fill little of their range.

Thermal and scientific cameras store counts in 10 to 16 bits. A scene then fills some hundred of
65,536 values, all of which are one grey in 8 bits.
"""

from __future__ import annotations

import av
import numpy as np

_BITS = 16
# Frames whose values differ by less have fewer than 16 greys in 8 bits.
_NARROW = 2**_BITS // 16
# Rows that are stretched at once, so that wide intermediate values take little memory.
_ROWS = 64


def stretched(frame: av.VideoFrame) -> av.VideoFrame:
    """Map the lowest value of a grey frame to black and the highest to white.

    Returns:
        An 8-bit frame. The frame itself if it isn't grey, has 8 bits, has floats, or its values
        fill a sixteenth of their range or more.
    """
    bits = max(component.bits for component in frame.format.components)
    if not frame.format.name.startswith("gray") or not 8 < bits <= _BITS:
        return frame
    whole = frame.reformat(format="gray16le", src_color_range="JPEG", dst_color_range="JPEG")
    counts = whole.to_ndarray()
    low, high = int(counts.min()), int(counts.max())
    if not 0 < high - low < _NARROW:
        return frame
    grey = np.empty(counts.shape, np.uint8)
    for top in range(0, len(counts), _ROWS):
        rows = counts[top : top + _ROWS].astype(np.uint32) - low
        grey[top : top + _ROWS] = (rows * 255 + (high - low) // 2) // (high - low)
    return av.VideoFrame.from_ndarray(grey, "gray")

"""What a picture needs to be seen, and the warnings about it.

Transparency is blended over white, and grey that fills little of its range is stretched.
"""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np

from dycoke_cli.video.color import Geometry, opaque
from dycoke_cli.video.limits import picture_size
from dycoke_cli.video.source import Picture, VideoSource

_BITS = 16
# Frames whose values differ by less have fewer than 16 greys in 8 bits.
_NARROW = 2**_BITS // 16
# Rows that are stretched at once, so that wide intermediate values take little memory.
_ROWS = 64


def viewable(source: VideoSource, picture: Picture) -> Picture:
    """The picture as it can be seen; it is marked if that is another one."""
    # Uncompressed 32-bit AVI is declared to have alpha, but most programs leave it at zero.
    unused = source.container.format.name == "avi"
    frame = opaque(picture.frame, blank_is_unused=unused)
    if frame is not picture.frame:
        return replace(picture, frame=frame, transparent=True)
    frame = stretched(picture.frame)
    return picture if frame is picture.frame else replace(picture, frame=frame, stretched=True)


class Remarks:
    """Warnings about the pictures that are read of a video."""

    def __init__(self, source: VideoSource, geometry: Geometry) -> None:
        self._source, self._geometry = source, geometry
        self._is_transparent = self._is_stretched = False
        self._size_change: str | None = None

    def add(self, picture: Picture) -> None:
        """Note a picture that was read."""
        self._is_transparent |= picture.transparent
        self._is_stretched |= picture.stretched
        if self._size_change is None and picture.size != self._geometry.stored_size:
            sizes = self._geometry.stored_size, picture.size
            first, other = map(picture_size, sizes)
            self._size_change = (
                f"{self._source.name} changes its picture size from {first} to {other} at or "
                f"before {float(picture.time_s):.1f} s: pictures are scaled to the first size"
            )

    def warnings(self) -> tuple[str, ...]:
        """Sentences about the pictures so far, and about the packets that couldn't be decoded."""
        name = self._source.name
        found = [] if self._size_change is None else [self._size_change]
        if self._source.without_alpha:
            found.append(
                f"{name} has transparency that FFmpeg can't decode, so transparent parts have any "
                "colour: convert it to PNG, APNG or ProRes 4444"
            )
        # What a GIF leaves out is white already, and nobody thinks of it as transparent.
        elif self._is_transparent and self._source.stream.codec_context.name != "gif":
            found.append(f"{name} is partly transparent: it is shown on white")
        if self._is_stretched:
            found.append(
                f"{name} has grey values that fill less than a sixteenth of their range, as those "
                "of thermal cameras: each picture is stretched from its darkest to its brightest "
                "value, so its greys can't be compared with those of another"
            )
        if count := len(self._source.damaged):
            what = "1 damaged packet was" if count == 1 else f"{count} damaged packets were"
            found.append(f"{name} is damaged: {what} skipped")
        return tuple(found)


def stretched(frame: av.VideoFrame) -> av.VideoFrame:
    """Map the lowest value of a grey frame to black and the highest to white.

    Thermal and scientific cameras store counts in 10 to 16 bits. A scene then fills some hundred of
    65,536 values, all of which are one grey in 8 bits.

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

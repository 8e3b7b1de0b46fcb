"""From a decoded frame to the picture as shown: RGB, square pixels, upright.

Range and matrix are those the stream is tagged with, or what players assume without a tag. Phones
store pictures as the sensor is held; a display matrix says how to turn and mirror them. It maps a
stored pixel (column p, row q, downwards) to x = a·p + c·q, y = b·p + d·q. For quarter turns that
is: exchange rows and columns or not, then mirror each axis or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData

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
_DISPLAY_MATRIX_BYTES = 9 * 4
# Beyond this, a pixel aspect ratio is a broken header, not a lens.
_MAX_PIXEL_ASPECT = 8


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
    return _rgb_frame(frame, width, height).to_ndarray()


def shrunk(frame: av.VideoFrame, pixels: int) -> av.VideoFrame:
    """The frame, or where it has more pixels, one in RGB that is scaled down to at most so many."""
    if frame.width * frame.height <= pixels:
        return frame
    return _rgb_frame(frame, *_within(frame.width, frame.height, pixels))


def _within(width: int, height: int, pixels: int) -> tuple[int, int]:
    scale = math.sqrt(pixels / (width * height))
    return max(1, int(scale * width)), max(1, int(scale * height))


def _rgb_frame(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    same_size = (frame.width, frame.height) == (width, height)
    return frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=matrix_name(frame),
        src_color_range="JPEG" if is_full_range(frame) else "MPEG",
        dst_color_range="JPEG",
        interpolation="BILINEAR" if same_size else "BICUBIC",
    )


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a stored picture can be shown.

    Attributes:
        transpose: exchange rows and columns, before mirroring.
        flip_x: mirror left and right.
        flip_y: mirror up and down.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def from_matrix(cls, matrix: bytes | None) -> Orientation:
        """Read FFmpeg's display matrix (nine native int32: a b u c d v x y w).

        Turns that aren't quarter turns are taken as the nearest one. None, a matrix of another
        length or one of zeros is upright.
        """
        if matrix is None or len(matrix) != _DISPLAY_MATRIX_BYTES:
            return cls()
        values = np.frombuffer(matrix, dtype=np.int32).astype(np.int64)
        return cls._nearest(*values[[0, 1, 3, 4]].tolist())

    @classmethod
    def from_rotation(cls, degrees: int) -> Orientation:
        """The quarter turn nearest to a counterclockwise turn of so many degrees."""
        a, b = ((1, 0), (0, -1), (-1, 0), (0, 1))[round(degrees / 90) % 4]
        return cls._nearest(a, b, -b, a)

    @classmethod
    def _nearest(cls, a: int, b: int, c: int, d: int) -> Orientation:
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, flip_x=c < 0, flip_y=b < 0)
        return cls(flip_x=a < 0, flip_y=d < 0)

    @property
    def mirrored(self) -> bool:
        """Whether the picture is shown as in a mirror (an odd number of reflections)."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 1

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn, 0, 90, 180 or 270, after the left-right mirroring if there is one."""
        # Follow the stored picture's right-hand side, behind the left-right mirroring.
        towards_minus = self.flip_y if self.transpose else self.flip_x
        towards_minus ^= self.mirrored
        if self.transpose:
            return 270 if towards_minus else 90
        return 180 if towards_minus else 0

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as shown, of a picture stored with these."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Turn a picture [H,W,C]; the result is a view, [W,H,C] when transposed."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return picture


@dataclass(frozen=True)
class Geometry:
    """How a stored picture becomes the one that is shown: with square pixels, and turned.

    Attributes:
        width: in pixels with square pixels, before turning.
        height: in pixels with square pixels, before turning.
        stored_size: width and height of the first picture as stored.
        pixel_aspect: width of a stored pixel over its height; 1 is square.
        orientation: the turn.
    """

    width: int
    height: int
    stored_size: tuple[int, int]
    pixel_aspect: float
    orientation: Orientation

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as shown."""
        return self.orientation.shown_size(self.width, self.height)

    def within(self, pixels: int) -> Geometry:
        """The same, scaled down to at most so many pixels."""
        if self.width * self.height <= pixels:
            return self
        width, height = _within(self.width, self.height, pixels)
        return replace(self, width=width, height=height)


def geometry_of(frame: av.VideoFrame, stream: av.VideoStream) -> Geometry:
    """The geometry that a stream's first frame and header declare."""
    aspect = _pixel_aspect(stream)
    # Stretch the short side: shrinking the other would throw pixels away.
    width = round(frame.width * aspect) if aspect > 1 else frame.width
    height = round(frame.height / aspect) if aspect < 1 else frame.height
    return Geometry(width, height, (frame.width, frame.height), float(aspect), _orientation(frame))


def _orientation(frame: av.VideoFrame) -> Orientation:
    try:
        matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:
        # PyAV can't list what it has no name for (the EXIF of a photo, the view of a 3D video), nor
        # what stands beside it. The turn it can still say; that the picture is mirrored it can't.
        return Orientation.from_rotation(frame.rotation)
    return Orientation.from_matrix(bytes(matrix) if matrix else None)


def _pixel_aspect(stream: av.VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    usual = Fraction(1, _MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT
    return aspect if usual else Fraction(1)

"""Conversion of a decoded frame to its displayed form: RGB, square pixels, upright, opaque.

Colour range and matrix follow the stream's tags, or players' defaults for untagged streams. Phones
store frames in sensor orientation, with a display matrix that rotates and mirrors them. It maps a
stored pixel (column p, row q, downwards) to x = a·p + c·q, y = b·p + d·q. For quarter turns that
means: transpose or not, then mirror each axis or not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import SideData

from dycoke_cli.video.limits import size_within

# Blending of transparent frames over white, as browsers and most image viewers show them.
#
# The colours of wholly transparent pixels are arbitrary, and mostly black. Without blending a black
# drawing on a transparent ground would be a black frame.


# Rows that are blended at once, so that wide intermediate values take little memory.
_ROWS = 64
_OPAQUE = 255


def has_alpha(pixels: av.VideoFormat) -> bool:
    """Whether a pixel format can store transparency; a palette's colours have it, too."""
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)


def over_white(rgba: np.ndarray, rgb: np.ndarray) -> None:
    """Blend a frame over white: `c·a + 255·(1 - a)`, rounded.

    Args:
        rgba: uint8 [H, W, 4], alpha not multiplied into the colours.
        rgb: uint8 [H, W, 3], which is written.
    """
    for top in range(0, len(rgba), _ROWS):
        rows = rgba[top : top + _ROWS].astype(np.uint16)
        alpha = rows[..., 3:]
        # At most 255² + 127, which 16 bits hold.
        blended = rows[..., :3] * alpha + _OPAQUE * (_OPAQUE - alpha) + _OPAQUE // 2
        rgb[top : top + _ROWS] = blended // _OPAQUE


# Names in PyAV's converter of the matrix numbers of ITU-T H.273.
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
# Larger pixel aspect ratios come from damaged headers, not from anamorphic lenses.
_MAX_PIXEL_ASPECT = 8


def matrix_name(frame: av.VideoFrame) -> str:
    """Name of the matrix that converts the frame's YUV to RGB: ITU601, ITU709, BT2020, …

    For untagged frames it is, as in players, BT.709 for HD sizes and BT.601 below.
    """
    untagged = "ITU709" if frame.width >= 1280 or frame.height > 576 else "ITU601"
    return _MATRICES.get(int(frame.colorspace), untagged)


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether values range from 0 to 255 (full range) instead of 16 to 235.

    Untagged frames are full range in RGB and grey, and limited range in YUV.
    """
    if int(frame.color_range) in (_LIMITED_RANGE, _FULL_RANGE):
        return int(frame.color_range) == _FULL_RANGE
    name = frame.format.name
    return frame.format.is_rgb or name.startswith(("yuvj", "gray", "mono", "pal", "ya"))


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether the frame has an HDR transfer function (PQ or HLG)."""
    return int(frame.color_trc) in _HDR_TRANSFERS


def to_rgb(frame: av.VideoFrame, geometry: Geometry) -> np.ndarray:
    """Convert a frame of any pixel format to RGB as displayed, uint8 [H, W, 3].

    A frame of another size than the first is scaled to that. An alpha channel is dropped: `opaque`
    blends it. HDR isn't tone-mapped.
    """
    rgb = _converted(frame, "rgb24", geometry.width, geometry.height)
    return geometry.orientation.apply(rgb.to_ndarray())


def opaque(frame: av.VideoFrame, *, blank_is_unused: bool = False) -> av.VideoFrame:
    """Blend a partly transparent frame over white, in RGB; return others unchanged.

    Before scaling, because scaling would mix in the colours of transparent pixels.
    """
    if not has_alpha(frame.format):
        return frame
    converted = _converted(frame, "rgba", frame.width, frame.height)
    rgba = _pixels_of(converted, 4)
    alpha = rgba[..., 3]
    if alpha.min() == _OPAQUE or (blank_is_unused and not alpha.any()):
        return frame
    blended = av.VideoFrame(frame.width, frame.height, "rgb24")
    over_white(rgba, _pixels_of(blended, 3))
    return blended


def _pixels_of(frame: av.VideoFrame, channels: int) -> np.ndarray:
    """Pixels of a packed frame, uint8 [H, W, channels], in its own memory: it may be large."""
    plane = frame.planes[0]
    if plane.line_size < 0:  # bottom up
        return frame.to_ndarray()
    rows = np.frombuffer(cast("Any", plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : channels * frame.width].reshape(frame.height, -1, channels)


def _converted(frame: av.VideoFrame, pixels: str, width: int, height: int) -> av.VideoFrame:
    same_size = (frame.width, frame.height) == (width, height)
    return frame.reformat(
        width=width,
        height=height,
        format=pixels,
        src_colorspace=matrix_name(frame),
        src_color_range="JPEG" if is_full_range(frame) else "MPEG",
        dst_color_range="JPEG",
        # At the same size it only interpolates chroma, for which bilinear is enough.
        interpolation="BILINEAR" if same_size else "BICUBIC",
    )


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of a stored frame."""

    transpose: bool = False  # exchange rows and columns, before mirroring
    flip_x: bool = False  # mirror left and right
    flip_y: bool = False  # mirror top and bottom

    @classmethod
    def from_matrix(cls, matrix: bytes | None) -> Orientation:
        """Parse FFmpeg's display matrix (nine native int32: a b u c d v x y w).

        Other rotations are rounded to the nearest quarter turn. None, a matrix of another length or
        one of zeros is upright.
        """
        if matrix is None or len(matrix) != _DISPLAY_MATRIX_BYTES:
            return cls()
        values = np.frombuffer(matrix, dtype=np.int32).astype(np.int64)
        return cls._nearest(*values[[0, 1, 3, 4]].tolist())

    @classmethod
    def from_rotation(cls, degrees: int) -> Orientation:
        """Quarter turn nearest to a counterclockwise rotation in degrees."""
        a, b = ((1, 0), (0, -1), (-1, 0), (0, 1))[round(degrees / 90) % 4]
        return cls._nearest(a, b, -b, a)

    @classmethod
    def _nearest(cls, a: int, b: int, c: int, d: int) -> Orientation:
        # b and c exchange the axes, a and d keep them; the larger pair wins.
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, flip_x=c < 0, flip_y=b < 0)
        return cls(flip_x=a < 0, flip_y=d < 0)

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Displayed width and height for a stored width and height."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Rotate and mirror a frame [H,W,C]; returns a view, [W,H,C] if transposed."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return picture


@dataclass(frozen=True)
class Geometry:
    """Mapping of stored frames to displayed ones: scaling to square pixels, orientation."""

    width: int  # in square pixels, before rotation
    height: int  # in square pixels, before rotation
    orientation: Orientation  # rotation and mirroring

    @property
    def shown_size(self) -> tuple[int, int]:
        """Displayed width and height."""
        return self.orientation.shown_size(self.width, self.height)

    def within(self, pixels: int) -> Geometry:
        """Geometry scaled down to at most a number of pixels."""
        width, height = size_within(self.width, self.height, pixels)
        return replace(self, width=width, height=height)


def geometry_of(frame: av.VideoFrame, stream: av.VideoStream) -> Geometry:
    """Geometry declared by a stream's headers and first frame."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, _MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT:
        aspect = Fraction(1)
    width, height = frame.width, frame.height
    # The shorter side is stretched, because shrinking the longer one would discard pixels.
    width = round(width * aspect) if aspect > 1 else width
    height = round(height / aspect) if aspect < 1 else height
    return Geometry(width, height, _orientation(frame))


def _orientation(frame: av.VideoFrame) -> Orientation:
    try:
        matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:
        # PyAV fails on side data that it has no name for (EXIF of a photo, the view of a 3D video).
        # The rotation is still available separately, but not whether the frame is mirrored.
        return Orientation.from_rotation(frame.rotation)
    return Orientation.from_matrix(bytes(matrix) if matrix else None)

"""Turn and mirror pictures as their display matrix says: phones store pictures as the sensor lies.

A display matrix maps a stored pixel (column p, row q, downwards) to x = a·p + c·q, y = b·p + d·q.
For quarter turns that is: exchange rows and columns or not, then mirror each axis or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MATRIX_BYTES = 9 * 4


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


def from_matrix(matrix: bytes | None) -> Orientation:
    """Read FFmpeg's display matrix (nine native int32: a b u c d v x y w).

    Turns that aren't quarter turns are taken as the nearest one. None, a matrix of another length
    or one of zeros is upright.
    """
    if matrix is None or len(matrix) != _MATRIX_BYTES:
        return Orientation()
    values = np.frombuffer(matrix, dtype=np.int32).astype(np.int64)
    return _nearest(*values[[0, 1, 3, 4]].tolist())


def from_rotation(degrees: int) -> Orientation:
    """The quarter turn nearest to a counterclockwise turn of so many degrees."""
    a, b = ((1, 0), (0, -1), (-1, 0), (0, 1))[round(degrees / 90) % 4]
    return _nearest(a, b, -b, a)


def _nearest(a: int, b: int, c: int, d: int) -> Orientation:
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)

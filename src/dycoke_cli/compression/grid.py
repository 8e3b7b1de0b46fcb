"""The grid of a frame's tokens, which a method isn't told: it is taken to be nearly square."""

from __future__ import annotations

from math import isqrt


def sides(per_frame: int) -> tuple[int, int]:
    """Height and width of the grid, row by row: no whole numbers closer to a square make N."""
    height = max(d for d in range(1, isqrt(per_frame) + 1) if per_frame % d == 0)
    return height, per_frame // height

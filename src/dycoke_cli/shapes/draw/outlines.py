"""Signed distances of the shapes, in radii: negative inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# No shape reaches further from its centre than this many radii.
REACH = 1.5


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - 1.0


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.88


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Corners (0, -1.1) and (±1.05, 0.85): a bottom edge and two slanted ones.
    normal = np.hypot(1.95, 1.05)
    slanted = (np.abs(x) * 1.95 - (y + 1.1) * 1.05) / normal
    return np.maximum(slanted, y - 0.85)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across = np.maximum(np.abs(x) - 1.05, np.abs(y) - 0.34)
    upright = np.maximum(np.abs(x) - 0.34, np.abs(y) - 1.05)
    return np.minimum(across, upright)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Fold the plane onto half a ray of the star, where its outline is one straight edge from the
    # tip (outer, 0) to the notch (inner at 36 degrees).
    outer, inner, fold = 1.15, 0.5, np.pi / 5
    angle = np.abs((np.arctan2(x, -y) + fold) % (2 * fold) - fold)
    length = np.sqrt(x * x + y * y)
    along, aside = length * np.cos(angle), length * np.sin(angle)
    ex, ey = inner * np.cos(fold) - outer, inner * np.sin(fold)
    return ((along - outer) * ey - aside * ex) / np.hypot(ex, ey)


OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}

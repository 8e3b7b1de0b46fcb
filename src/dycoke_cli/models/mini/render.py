"""Pictures of a script: anti-aliased, at any size, from signed distances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dycoke_cli.models.mini.world import Script, Thing

RGB = {
    "red": (220, 30, 35),
    "orange": (255, 140, 0),
    "yellow": (250, 230, 50),
    "green": (30, 160, 60),
    "blue": (40, 80, 225),
    "purple": (150, 50, 185),
    "black": (12, 12, 12),
    "gray": (128, 128, 128),
    "white": (244, 244, 244),
}
# No shape reaches further from its centre than this many radii.
REACH = 1.2


def render(
    script: Script, times: np.ndarray, size: int, *, softness: float = 1.0, noise: float = 0.0,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """The frames of a script.

    Args:
        script: what to draw.
        times: [F] float, 0-1.
        size: side of a frame in pixels.
        softness: width of an edge in pixels; 1 is plain anti-aliasing.
        noise: standard deviation of what is added to each pixel, in steps of 1/255.
        seed: of the noise.

    Returns:
        [F, size, size, 3] uint8, RGB.
    """
    frames = np.empty((len(times), size, size, 3), dtype=np.float32)
    frames[:] = RGB[script.background]
    for thing in script.things:
        _paint(frames, thing, times, size, softness)
    if noise > 0:
        frames += np.random.default_rng(seed).normal(0, noise, frames.shape).astype(np.float32)
    return np.clip(frames + 0.5, 0, 255).astype(np.uint8)


def _paint(frames: np.ndarray, thing: Thing, times: np.ndarray, size: int, softness: float) -> None:
    centres = thing.centres(times) * size
    radius = thing.radius * size
    half = int(np.ceil(radius * REACH + softness))
    corner = np.floor(centres).astype(int) - half
    side = np.arange(2 * half + 2)
    # Only the window around the thing is computed: [F, window, window].
    x = (corner[:, 0, None] + side + 0.5 - centres[:, 0, None]).astype(np.float32) / radius
    y = (corner[:, 1, None] + side + 0.5 - centres[:, 1, None]).astype(np.float32) / radius
    still = thing.start == thing.end
    used = slice(0, 1) if still else slice(None)
    distance = DISTANCES[thing.shape](x[used, None, :], y[used, :, None]) * radius
    cover = np.clip(0.5 - distance / softness, 0, 1)[..., None]
    visible, colours = thing.visible(times), thing.colours(times)
    for f in range(len(times)):
        if not visible[f]:
            continue
        left, top = corner[f]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + len(side), size), min(top + len(side), size)
        mask = cover[0 if still else f, y0 - top : y1 - top, x0 - left : x1 - left]
        window = frames[f, y0:y1, x0:x1]
        window += mask * (np.array(RGB[colours[f]], dtype=np.float32) - window)


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


DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}

"""Elements of a frame: shapes as signed distance functions, background tiles, cards."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# No shape reaches further from its centre than this many radii.
REACH = 1.5
# Brightness of each tone of a background, 0-255.
LEVELS = {"black": 16.0, "gray": 128.0, "white": 240.0}
# Side of the card and height of its font, in sides of the picture.
CARD, FONT = 0.27, 0.25
PAPER, INK, EDGE = (250, 250, 250), (20, 20, 20), (20, 20, 20)
# Cards are drawn at this multiple of their size and scaled down, which anti-aliases the glyph.
OVERSAMPLING = 4


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


def tile(tone: str, texture: str, contrast: float, seed: int, size: int) -> np.ndarray:
    """One period of a background: [size, size, 1] float32, 0-255, periodic in both directions.

    Args:
        contrast: how far the texture goes from the tone, in steps of 1/255.
    """
    rng = np.random.default_rng(seed)
    line = (np.arange(size) + 0.5) / size
    if texture == "plain":
        pattern = np.zeros((size, size))
    elif texture == "clouds":
        # Interpolated within 3x3 copies, of which the middle is cut out: that makes it periodic.
        grid = rng.uniform(0, 1, size=(6, 6))
        wide = np.tile(grid, (3, 3)).astype(np.float32)
        picture = Image.fromarray(wide).resize((3 * size, 3 * size), Image.Resampling.BICUBIC)
        pattern = np.asarray(picture)[size : 2 * size, size : 2 * size]
    else:
        waves = rng.integers(2, 5, size=2)
        phase = rng.uniform(0, 1, size=2)
        x = np.sin(2 * np.pi * (line[None] * waves[0] + phase[0]))
        y = np.sin(2 * np.pi * (line[:, None] * waves[1] + phase[1]))
        stripes = x if rng.random() < 0.5 else y
        wave = x * y if texture == "checks" else np.broadcast_to(stripes, (size, size))
        pattern = np.clip(wave * 4, -0.5, 0.5) + 0.5
    # Towards the middle of the scale, so that the texture isn't clipped on black or white.
    away = -1.0 if LEVELS[tone] > 128 else 1.0
    return (LEVELS[tone] + away * contrast * pattern)[..., None].astype(np.float32)


def scrolled(picture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Tile shifted by [2] (x, y) sides, with wrap-around, to the nearest pixel."""
    size = len(picture)
    x, y = (round(float(s) * size) for s in shift)
    return np.roll(picture, (y, x), axis=(0, 1))


@lru_cache(maxsize=256)
def card(glyph: str, size: int) -> np.ndarray:
    """Card with a glyph, for frames of `size` pixels: [side, side, 3] float32."""
    side = max(6, round(CARD * size))
    large = side * OVERSAMPLING
    picture = Image.new("RGB", (large, large), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, large - 1, large - 1), outline=EDGE, width=max(1, large // 16))
    font = ImageFont.load_default(round(FONT * size * OVERSAMPLING))
    pen.text(
        (large / 2, large / 2),
        glyph,
        fill=INK,
        font=font,
        anchor="mm",
        stroke_width=large // 40,
        stroke_fill=INK,
    )
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.float32)

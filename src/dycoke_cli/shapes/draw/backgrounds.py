"""Backgrounds: a tone and a texture that repeats, as wide as the picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

TONES = {"black": 16.0, "gray": 128.0, "white": 240.0}


def tile(tone: str, texture: str, contrast: float, seed: int, size: int) -> np.ndarray:
    """One period of a background: [size, size, 1] float32, 0-255; it joins up at the edges.

    Args:
        tone: black, gray or white.
        texture: plain, stripes, checks or clouds.
        contrast: how far the texture goes from the tone, in steps of 1/255.
        seed: of the texture.
        size: in pixels.
    """
    rng = np.random.default_rng(seed)
    line = (np.arange(size) + 0.5) / size
    if texture == "plain":
        pattern = np.zeros((size, size))
    elif texture == "clouds":
        grid = rng.uniform(0, 1, size=(6, 6))
        wide = np.tile(grid, (3, 3)).astype(np.float32)
        picture = Image.fromarray(wide).resize((3 * size, 3 * size), Image.Resampling.BICUBIC)
        pattern = np.asarray(picture)[size : 2 * size, size : 2 * size]
    else:
        waves = rng.integers(2, 5, size=2)
        phase = rng.uniform(0, 1, size=2)
        x = np.sin(2 * np.pi * (line[None] * waves[0] + phase[0]))
        y = np.sin(2 * np.pi * (line[:, None] * waves[1] + phase[1]))
        one_way = x if rng.random() < 0.5 else y
        wave = x * y if texture == "checks" else np.broadcast_to(one_way, (size, size))
        pattern = np.clip(wave * 4, -0.5, 0.5) + 0.5
    # Away from the ends of the scale, so that the texture shows on black and on white too.
    away = -1.0 if TONES[tone] > 128 else 1.0
    return (TONES[tone] + away * contrast * pattern)[..., None].astype(np.float32)


def scrolled(picture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A tile moved by [2] (x, y) sides, wrapped around, to the nearest pixel."""
    size = len(picture)
    x, y = (round(float(s) * size) for s in shift)
    return np.roll(picture, (y, x), axis=(0, 1))

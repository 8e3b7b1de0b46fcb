"""Frames that need no decoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dycoke_cli.shapes.draw.render import render
from dycoke_cli.shapes.world.director import draw_script

SIDE = 384
NOISE = 2


@dataclass(frozen=True)
class Drawn:
    """Frames of a drawn clip, four a second."""

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()


@lru_cache(maxsize=1)  # 128 frames take seconds, and each answer asks for them
def drawn(frames: int, different: int | None = None) -> Drawn:
    """A clip of the bundled world, `[F, 384, 384, 3]` uint8.

    With noise, as of a sensor: no two frames are the same, for those would be encoded but once.

    Args:
        frames: F.
        different: so many frames, again and again: where encoding them isn't what is measured.
    """
    times = np.linspace(0, 1, frames)
    pictures = render(draw_script([7], "train"), times, SIDE)
    noise = np.random.default_rng(0).integers(-NOISE, NOISE + 1, pictures.shape)
    noisy = np.clip(pictures.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    if different is not None:
        noisy = noisy[np.arange(frames) % different]
    return Drawn(noisy, tuple((times * frames / 4).tolist()))

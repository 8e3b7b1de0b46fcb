"""Frames that need no decoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import Camera, Event, Scene, Script, Thing

SIDE = 384
NOISE = 2
# Written down, so that what is measured stays the same when the training draws other scripts.
SCRIPT = Script(
    things=(
        Thing("cross", "green", 0.1328, (0, 2), (-0.0139, 0.0228), 0),
        Thing("star", "green", 0.1304, (1, 2), (0.0106, -0.021), 1),
        Thing("circle", "yellow", 0.1489, (0, 0), (-0.0059, -0.0242), 1),
    ),
    events=(
        Event("bounce", 0.0293, 0.1144, thing=0),
        Event("show", 0.2207, 0.3101, cell=(2, 0), glyph="0"),
        Event("turn", 0.3386, 0.4333, thing=2, colour="orange"),
        Event("move", 0.5776, 0.677, thing=2, way="down", cell=(0, 2)),
        Event("spin", 0.7039, 0.7893, thing=1),
        Event("shrink", 0.8243, 0.955, thing=2),
    ),
    scenes=(
        Scene(0.0, 0.1675, "white", "clouds", 16.7353, 1819199985),
        Scene(0.1675, 1.0, "gray", "clouds", 14.2854, 1750749525),
    ),
    camera=Camera(pan=(0.0, 0.0), shake=0.0, noise=2.0, quality=35),
    label="static",
    seconds=22.9,
    names=(("Ben", 0), ("Cleo", 1)),
    seed=495329461,
)


@dataclass(frozen=True)
class Drawn:
    """Frames of a drawn clip, four a second."""

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    subtitles: None = None


@lru_cache(maxsize=1)  # 128 frames take seconds, and each answer asks for them
def drawn(frames: int, different: int | None = None) -> Drawn:
    """A clip of the bundled world, `[F, 384, 384, 3]` uint8.

    With noise, as of a sensor: no two frames are the same, for those would be encoded but once.
    """
    times = np.linspace(0, 1, frames)
    pictures = render(SCRIPT, times, SIDE)
    noise = np.random.default_rng(0).integers(-NOISE, NOISE + 1, pictures.shape)
    noisy = np.clip(pictures.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    if different is not None:
        noisy = noisy[np.arange(frames) % different]
    return Drawn(noisy, tuple((times * frames / 4).tolist()))

"""Things found in pictures by what they look like: hues, areas, centres."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dycoke_cli.shapes.script import Camera, Scene, Script, Thing

# Hues in degrees that one would call by these names.
HUES = {
    "red": (-20, 15), "orange": (20, 43), "yellow": (46, 68), "green": (90, 170),
    "blue": (205, 250), "purple": (265, 310),
}  # fmt: skip


def mask(frame: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture [H, W, 3] has that colour, well saturated: [H, W] bool."""
    hsv = np.asarray(Image.fromarray(frame).convert("HSV")).astype(float)
    low, high = HUES[colour]
    hue = (hsv[..., 0] * 360 / 256 - low) % 360 + low
    return (hue >= low) & (hue <= high) & (hsv[..., 1] > 130)


def centre(where: np.ndarray) -> np.ndarray:
    """The centre of mass (x, y) of a mask, in sides of the picture."""
    rows, columns = np.nonzero(where)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / len(where)


def one_thing(**changes) -> Script:
    """A still red circle in the middle of a plain gray picture, or something else in its place."""
    base = {"shape": "circle", "colour": "red", "radius": 0.15, "cell": (1, 1),
            "offset": (0.0, 0.0), "scene": 0}  # fmt: skip
    return wall(things=(Thing(**(base | changes)),))


def wall(tone="gray", texture="plain", contrast=20.0, seed=1, **changes) -> Script:
    """A clip of a wall and nothing else, filmed by a still camera."""
    base = {"things": (), "events": (), "label": "static", "seconds": 8.0,
            "scenes": (Scene(0.0, 1.0, tone, texture, contrast, seed),),
            "camera": Camera((0.0, 0.0), 0.0, 0.0, 24)}  # fmt: skip
    return Script(**(base | changes))

"""A script: all there is to know about a clip.

The unit of place is the side of the (square) picture, the unit of time is the length of the clip:
both run from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
TONES = ("black", "gray", "white")
TEXTURES = ("plain", "stripes", "checks", "clouds")
# Direction on the picture: (x, y), y downwards.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SIDES = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
DIGITS = tuple("0123456789")
# None of them is a letter of an option (A to D), and all differ at a dozen pixels' height.
LETTERS = tuple("EFHKMRTX")
GLYPHS = DIGITS + LETTERS
# What can happen. "show" is the needle: a digit or letter on a card.
DEEDS = (
    "enter", "leave", "move", "bounce", "spin", "grow", "shrink", "hit", "hide", "turn", "show",
)  # fmt: skip
LABELS = ("static", "mixed", "dynamic")
# Whom the subtitles speak of.
NAMES = ("Anna", "Ben", "Cleo", "Dan")
CELL_CENTRES = (0.2, 0.5, 0.8)
Cell = tuple[int, int]


@dataclass(frozen=True)
class Thing:
    """One shape of one scene.

    Attributes:
        shape: one of SHAPES.
        colour: one of COLOURS, at first.
        radius: half its height, in sides of the picture, at first.
        cell: (column, row), 0-2 each, where it is when the scene begins; None if it enters later.
        offset: its distance (x, y) from the centre of its cell, the same all the time.
        scene: index of its scene.
    """

    shape: str
    colour: str
    radius: float
    cell: Cell | None
    offset: tuple[float, float]
    scene: int


@dataclass(frozen=True)
class Event:
    """Something that happens, alone in its stretch of time.

    Attributes:
        deed: one of DEEDS.
        begin: when it begins, 0-1.
        finish: when it is over.
        thing: index of the thing that does it; -1 for "show".
        way: direction of a move, side of an entrance or exit; else empty.
        cell: where the thing goes, also where it goes in vain; or where the card is; else None.
        other: index of the thing that is hit or hidden behind; else -1.
        colour: what it turns to; else empty.
        glyph: what the card shows; else empty.
    """

    deed: str
    begin: float
    finish: float
    thing: int = -1
    way: str = ""
    cell: Cell | None = None
    other: int = -1
    colour: str = ""
    glyph: str = ""


@dataclass(frozen=True)
class Scene:
    """A stretch of time between two cuts: its background, and from when to when it lasts."""

    begin: float
    finish: float
    tone: str
    texture: str
    contrast: float
    seed: int

    def covers(self, times: np.ndarray) -> np.ndarray:
        """Whether this scene is on at [T] times -> [T] bool; the last one has the end."""
        return (times >= self.begin) & ((times < self.finish) | (self.finish >= 1.0))


@dataclass(frozen=True)
class Camera:
    """How the clip is filmed.

    Attributes:
        pan: by how many sides (x, y) the background runs through the picture over the clip.
        shake: how far the picture jumps, in sides.
        noise: standard deviation of the sensor's noise, in steps of 1/255.
        quality: constant rate factor of the encoder; higher loses more.
    """

    pan: tuple[float, float]
    shake: float
    noise: float
    quality: int


@dataclass(frozen=True)
class Script:
    """A clip.

    Attributes:
        things: in no order that means anything; all differ in colour or shape.
        events: in the order of time.
        scenes: in the order of time, without a gap.
        camera: how it is filmed.
        label: one of LABELS, how much changes from frame to frame.
        seconds: length; nothing that is asked depends on it.
        names: what the subtitles call things: (name, index of the thing).
        seed: of the shake and the noise.
    """

    things: tuple[Thing, ...]
    events: tuple[Event, ...]
    scenes: tuple[Scene, ...]
    camera: Camera
    label: str
    seconds: float
    names: tuple[tuple[str, int], ...] = ()
    seed: int = 0


def from_json(data: dict[str, Any]) -> Script:
    """The script that is stored as plain data; what isn't there has its default."""
    return Script(
        things=tuple(Thing(**_pairs(t, "cell", "offset")) for t in data["things"]),
        events=tuple(Event(**_pairs(e, "cell")) for e in data["events"]),
        scenes=tuple(Scene(**s) for s in data["scenes"]),
        camera=Camera(**_pairs(data["camera"], "pan")),
        label=data["label"],
        seconds=data["seconds"],
        names=tuple((name, index) for name, index in data["names"]),
        seed=data["seed"],
    )


def _pairs(data: dict[str, Any], *names: str) -> dict[str, Any]:
    """With the lists of these names as tuples."""
    return {k: tuple(v) if k in names and v is not None else v for k, v in data.items()}

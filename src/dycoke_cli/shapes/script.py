"""Script: the complete description of a synthetic clip.

Positions are in sides of the (square) frame, times in lengths of the clip: both run from 0 to 1.
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
# Without the letters of options (A to D); all are distinguishable at a height of 12 pixels.
LETTERS = tuple("EFHKMRTX")
GLYPHS = DIGITS + LETTERS
# Kinds of events. "show" is the needle of the retrieval questions: a digit or letter on a card.
DEEDS = (
    "enter", "leave", "move", "bounce", "spin", "grow", "shrink", "hit", "hide", "turn", "show",
)  # fmt: skip
LABELS = ("static", "mixed", "dynamic")
# Names that subtitles give to things.
NAMES = ("Anna", "Ben", "Cleo", "Dan")
CELL_CENTRES = (0.2, 0.5, 0.8)
Cell = tuple[int, int]


@dataclass(frozen=True)
class Thing:
    """One shape of one scene."""

    shape: str  # one of SHAPES
    colour: str  # one of COLOURS, at first
    radius: float  # half its height, in sides of the picture, at first
    cell: Cell | None  # (column, row), 0-2 each, at the start of the scene; None if it enters later
    offset: tuple[float, float]  # constant offset (x, y) from the centre of its cell
    scene: int  # index of its scene


@dataclass(frozen=True)
class Event:
    """Event of a script; no two events overlap in time."""

    deed: str  # one of DEEDS
    begin: float  # start, 0-1
    finish: float  # end, 0-1
    thing: int = -1  # index of the acting thing; -1 for "show"
    way: str = ""  # direction of a move, or side of an entrance or exit; otherwise empty
    # destination of the thing (of a hit: not reached), or place of the card; otherwise None
    cell: Cell | None = None
    other: int = -1  # index of the thing that is hit or hidden behind; otherwise -1
    colour: str = ""  # new colour; otherwise empty
    glyph: str = ""  # glyph on the card; otherwise empty


@dataclass(frozen=True)
class Scene:
    """Scene between two cuts: start, end and background."""

    begin: float
    finish: float
    tone: str
    texture: str
    contrast: float
    seed: int

    def covers(self, times: np.ndarray) -> np.ndarray:
        """Whether times are within this scene: [T] -> [T] bool; the last scene includes 1.0."""
        return (times >= self.begin) & ((times < self.finish) | (self.finish >= 1.0))


@dataclass(frozen=True)
class Camera:
    """Camera and encoder settings of a clip."""

    pan: tuple[float, float]  # displacement (x, y) of the background over the whole clip, in sides
    shake: float  # amplitude of the camera shake, in sides
    noise: float  # standard deviation of the sensor noise, in steps of 1/255
    quality: int  # constant rate factor of the encoder; higher loses more


@dataclass(frozen=True)
class Script:
    """Description of a clip."""

    things: tuple[Thing, ...]  # in arbitrary order; any two differ in colour or shape
    events: tuple[Event, ...]  # in order of time
    scenes: tuple[Scene, ...]  # in order of time, without gaps
    camera: Camera  # camera and encoder settings
    label: str  # one of LABELS: amount of change from frame to frame
    seconds: float  # duration; no question depends on it
    # names of things in the subtitles: (name, index of the thing)
    names: tuple[tuple[str, int], ...] = ()
    seed: int = 0  # of the shake and the noise


def from_json(data: dict[str, Any]) -> Script:
    """Build a script from JSON data; missing fields of things and events get their defaults."""
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
    """Convert the lists under these names to tuples."""
    return {k: tuple(v) if k in names and v is not None else v for k, v in data.items()}

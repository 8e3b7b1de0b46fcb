"""Script: the complete description of a synthetic clip, and where its things are at a time.

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


# Distance beyond the edge of the frame at which a thing enters and leaves.
OUTSIDE = 0.2
HOP = 0.13
GROWN, SHRUNK = 1.45, 0.62


@dataclass(frozen=True)
class Track:
    """State of one thing at T times."""

    centres: np.ndarray  # [T, 2] (x, y), float64, sides of the picture
    radius: np.ndarray  # [T] float64, sides
    angle: np.ndarray  # [T] float64, radians, clockwise
    colours: np.ndarray  # [T] int64, index into COLOURS of the predominant colour
    blend: np.ndarray  # [T] float64, 0-1: interpolation from `before` to `after`
    before: int  # index of the first colour
    after: int  # index of the last colour
    visible: np.ndarray  # [T] bool, whether it is in the frame (even if occluded)
    hidden: np.ndarray  # [T] bool, whether it is occluded by another thing


def track(script: Script, index: int, times: np.ndarray) -> Track:
    """Compute the track of a thing at [T] times, 0-1.

    Events are in order of time and never overlap for one thing, so each starts from `here`, the
    place where the one before it ended.
    """
    thing = script.things[index]
    count = len(times)
    here = np.array([0.0, 0.0]) if thing.cell is None else at(thing.cell, thing.offset)
    centres = np.tile(here, (count, 1))
    radius, angle = np.full(count, thing.radius), np.zeros(count)
    blend, hidden = np.zeros(count), np.zeros(count, dtype=bool)
    inside = script.scenes[thing.scene].covers(times)
    visible = inside & (thing.cell is not None)
    before = after = COLOURS.index(thing.colour)
    for event in (e for e in script.events if e.thing == index):
        done = progress(event, times)
        begun, over = times >= event.begin, times >= event.finish
        if event.deed == "enter":
            assert event.cell is not None
            target = at(event.cell, thing.offset)
            source = target + _beyond(target, event.way)
            centres = np.where(begun[:, None], source + (target - source) * done[:, None], centres)
            visible = np.where(begun, inside, visible)
            here = target
        elif event.deed == "leave":
            target = here + _beyond(here, event.way)
            centres = np.where(begun[:, None], here + (target - here) * done[:, None], centres)
            visible &= ~over
        elif event.deed == "move":
            assert event.cell is not None
            target = at(event.cell, thing.offset)
            centres = np.where(begun[:, None], here + (target - here) * done[:, None], centres)
            here = target
        elif event.deed in ("hit", "hide"):
            other = script.things[event.other]
            assert event.cell is not None
            reached = at(event.cell, other.offset) - here
            if event.deed == "hit":
                # Up to contact, and back: `away` rises to 1 in the middle and returns to 0.
                touching = (thing.radius + other.radius) * 0.9
                reached = reached * max(0.0, 1 - touching / float(np.linalg.norm(reached)))
                away = 1 - np.abs(2 * done - 1)
            else:
                away = np.clip(done * 1.15, 0, 1)
                hidden |= begun & (away >= 0.9)
            centres = np.where(begun[:, None], here + reached * away[:, None], centres)
            if event.deed == "hide":
                here = here + reached
        elif event.deed == "bounce":
            hop = np.abs(np.sin(2 * np.pi * done)) * HOP
            # Two hops; y points downwards.
            centres[:, 1] -= np.where(begun & ~over, hop, 0.0)
        elif event.deed == "spin":
            angle = np.where(begun, angle + 5.0 * done, angle)
        elif event.deed in ("grow", "shrink"):
            factor = GROWN if event.deed == "grow" else SHRUNK
            radius = radius * (1 + (factor - 1) * done)
        elif event.deed == "turn":
            after = COLOURS.index(event.colour)
            # The colour changes within the middle of the event, so both colours are seen pure.
            blend = np.clip(done * 1.6 - 0.3, 0, 1)
    colours = np.where(blend >= 0.5, after, before)
    return Track(centres, radius, angle, colours, blend, before, after, visible, hidden & visible)


def progress(event: Event, times: np.ndarray) -> np.ndarray:
    """Progress of an event at [T] times: 0 before it, 1 after it."""
    return np.clip((times - event.begin) / (event.finish - event.begin), 0.0, 1.0)


def at(cell: Cell, offset: tuple[float, float]) -> np.ndarray:
    """Position of a cell's centre plus an offset: [2] (x, y)."""
    return np.array([CELL_CENTRES[cell[0]], CELL_CENTRES[cell[1]]]) + offset


def _beyond(place: np.ndarray, side: str) -> np.ndarray:
    """Vector from a position to outside the frame, perpendicular to a side: [2]."""
    way = np.array((SIDES | DIRECTIONS)[side], dtype=float)
    edge = np.where(way > 0, 1.0, 0.0)
    return way * (np.abs(edge - place) + OUTSIDE)

"""Script: the complete description of a synthetic clip, and the scene while it is written.

Positions are in sides of the (square) frame, times in lengths of the clip: both run from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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


# The scene that is being drawn: who stands where, and what can happen next.


MOST_THINGS, MOST_AT_ONCE = 5, 4
# How often each deed is the first to be tried; one that doesn't fit makes room for the next.
DEED_SHARES = {
    "enter": 0.08, "leave": 0.11, "move": 0.2, "bounce": 0.08, "spin": 0.09, "grow": 0.08,
    "shrink": 0.08, "hit": 0.22, "hide": 0.1, "turn": 0.12,
}  # fmt: skip
# Things behind which others hide, and those that hide: the one covers the other whole.
HIDING_SHARE = 0.3
HOSTS, HOST_RADIUS, HIDER_RADIUS = ("circle", "square"), (0.17, 0.185), (0.095, 0.105)
RADIUS = (0.115, 0.15)
CELLS = tuple((column, row) for row in range(3) for column in range(3))


@dataclass
class SceneState:
    """The scene that is being drawn."""

    rng: np.random.Generator  # draws everything
    things: list[Thing] = field(default_factory=list)  # of all scenes so far
    # where the things of this scene are that are in the picture
    cells: dict[int, Cell] = field(default_factory=dict)
    # things that don't act any more in this scene: others hide behind them
    resting: set[int] = field(default_factory=set)
    sized: set[int] = field(default_factory=set)  # things that grew or shrank
    turned: set[int] = field(default_factory=set)  # things that changed their colour
    # pairs of colour and shape that a thing has or had: no two may share one
    taken: set[tuple[str, str]] = field(default_factory=set)
    scene: int = 0  # index of the scene

    def open(self, scene: int, shares: tuple[float, ...]) -> None:
        """A new scene with things never seen before: shares of one, two, … at its start."""
        self.scene, self.cells, self.resting = scene, {}, set()
        count = int(self.rng.choice(len(shares), p=shares)) + 1
        count = min(count, MOST_THINGS - len(self.things))
        hiding = count >= 2 and self.rng.random() < HIDING_SHARE
        places = [CELLS[int(i)] for i in self.rng.permutation(9)]
        for i in range(count):
            shapes: tuple[str, ...] = SHAPES
            radius = RADIUS
            if hiding and i == 0:
                shapes, radius = HOSTS, HOST_RADIUS
            elif hiding and i == 1:
                radius = HIDER_RADIUS
                near = next(k for k in range(1, 9) if between(places[k], places[0]) == [])
                places[1], places[near] = places[near], places[1]
            self._add(shapes, radius, places[i])

    def show(self, slot: tuple[float, float]) -> Event:
        """The needle, in a cell that is free."""
        free = [cell for cell in CELLS if cell not in self.cells.values()]
        kind = DIGITS if self.rng.random() < 0.5 else LETTERS
        cell = free[int(self.rng.integers(len(free)))]
        return Event("show", *slot, cell=cell, glyph=str(self.rng.choice(kind)))

    def act(self, slot: tuple[float, float]) -> Event | None:
        """Lets something happen that fits the scene; None where nothing does."""
        shares = np.array(list(DEED_SHARES.values()))
        # A weighted order: the smallest of exponential draws comes first.
        order = np.argsort(self.rng.exponential(1 / shares))
        for deed in np.array(list(DEED_SHARES))[order]:
            found = FITTING[str(deed)](self, slot, str(deed))
            if found:
                event = found[int(self.rng.integers(len(found)))]
                self._happen(event)
                return event
        return None

    def _able(self) -> list[int]:
        return [i for i in self.cells if i not in self.resting]

    def _clear(self, path: list[Cell]) -> bool:
        return not any(cell in self.cells.values() for cell in path)

    def _still(self, slot: tuple[float, float], deed: str) -> list[Event]:
        """Bounces, and spins of what can be seen to spin."""
        able = [i for i in self._able() if deed != "spin" or self.things[i].shape != "circle"]
        return [Event(deed, *slot, i) for i in able]

    def _sized(self, slot: tuple[float, float], deed: str) -> list[Event]:
        usual = [i for i in self._able() if RADIUS[0] <= self.things[i].radius <= RADIUS[1]]
        return [Event(deed, *slot, i) for i in usual if i not in self.sized]

    def _turns(self, slot: tuple[float, float], deed: str) -> list[Event]:
        return [
            Event(deed, *slot, i, colour=colour)
            for i in self._able()
            if i not in self.turned
            for colour in COLOURS
            if (colour, self.things[i].shape) not in self.taken
        ]

    def _moves(self, slot: tuple[float, float], deed: str) -> list[Event]:
        found = []
        for i in self._able():
            for name, way in DIRECTIONS.items():
                path = line(self.cells[i], way)
                ends = [n for n in range(1, len(path) + 1) if self._clear(path[:n])]
                found += [Event(deed, *slot, i, name, path[n - 1]) for n in ends]
        return found

    def _leaves(self, slot: tuple[float, float], deed: str) -> list[Event]:
        return [
            Event(deed, *slot, i, name)
            for i in self._able()
            for name, way in SIDES.items()
            if self._clear(line(self.cells[i], way))
        ]

    def _enters(self, slot: tuple[float, float], deed: str) -> list[Event]:
        if len(self.things) >= MOST_THINGS or len(self.cells) >= MOST_AT_ONCE:
            return []
        return [
            Event(deed, *slot, len(self.things), name, cell)
            for cell in CELLS
            for name, way in SIDES.items()
            if self._clear([cell, *line(cell, way)])
        ]

    def _meets(self, slot: tuple[float, float], deed: str) -> list[Event]:
        found = []
        for i in self._able():
            small = self.things[i].radius <= HIDER_RADIUS[1] and i not in self.sized
            for j, there in self.cells.items():
                path = between(self.cells[i], there) if i != j else None
                fits = j not in self.resting and self.things[j].radius >= HOST_RADIUS[0]
                fits = small and fits if deed == "hide" else bool(path)
                if path is not None and fits and self._clear(path):
                    found.append(Event(deed, *slot, i, cell=there, other=j))
        return found

    def _happen(self, event: Event) -> None:
        i = event.thing
        if event.deed == "enter":
            self._add(SHAPES, RADIUS, None)
        if event.deed in ("enter", "move") and event.cell is not None:
            self.cells[i] = event.cell
        if event.deed in ("leave", "hide"):
            del self.cells[i]
        if event.deed == "hide":
            self.resting.add(event.other)
        if event.deed in ("grow", "shrink"):
            self.sized.add(i)
        if event.deed == "turn":
            self.turned.add(i)
            self.taken.add((event.colour, self.things[i].shape))

    def _add(self, shapes: tuple[str, ...], radius: tuple[float, float], cell: Cell | None) -> None:
        free = [(c, s) for c in COLOURS for s in shapes if (c, s) not in self.taken]
        colour, shape = free[int(self.rng.integers(len(free)))]
        self.taken.add((colour, shape))
        offset = (float(self.rng.uniform(-0.03, 0.03)), float(self.rng.uniform(-0.03, 0.03)))
        size = float(self.rng.uniform(*radius))
        self.things.append(Thing(shape, colour, size, cell, offset, self.scene))
        if cell is not None:
            self.cells[len(self.things) - 1] = cell


FITTING: dict[str, Callable[[SceneState, tuple[float, float], str], list[Event]]] = {
    "enter": SceneState._enters,
    "leave": SceneState._leaves,
    "move": SceneState._moves,
    "bounce": SceneState._still,
    "spin": SceneState._still,
    "grow": SceneState._sized,
    "shrink": SceneState._sized,
    "hit": SceneState._meets,
    "hide": SceneState._meets,
    "turn": SceneState._turns,
}


def line(cell: Cell, way: tuple[int, int]) -> list[Cell]:
    """The cells from the next one to the edge."""
    found = []
    column, row = cell[0] + way[0], cell[1] + way[1]
    while 0 <= column < 3 and 0 <= row < 3:
        found.append((column, row))
        column, row = column + way[0], row + way[1]
    return found


def between(a: Cell, b: Cell) -> list[Cell] | None:
    """The cells between two in one line; None where they aren't in one."""
    if a == b or (a[0] != b[0] and a[1] != b[1]):
        return None
    way = (int(np.sign(b[0] - a[0])), int(np.sign(b[1] - a[1])))
    cells = line(a, way)
    return cells[: cells.index(b)]

"""The world of moving shapes: what a script says, and how scripts are drawn from a seed.

A script is all there is to know about a clip. Pictures (`render`) and questions (`questions`) are
both made from it and from nothing else. The unit of place is the side of the (square) frame, the
unit of time is the length of the clip: both run from 0 to 1.

Scripts are split by what they say, not by their seed: the hash of the symbolic content (background
and, for each thing, shape, colour, cells and action) decides whether a script belongs to training,
validation, test or the sample clips. Two scripts of different splits therefore never say the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
BACKGROUNDS = ("black", "gray", "white")
MOVES = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}
ACTIONS = ("stay", *MOVES, "appear", "vanish", "turn")
SPLITS = {"train": range(0, 88), "validation": range(88, 92), "test": range(92, 96),
          "samples": range(96, 100)}  # fmt: skip
CELL_CENTRES = (0.19, 0.5, 0.81)
# Shares of scripts with one, two and three things.
THINGS_SHARES = (0.4, 0.4, 0.2)


@dataclass(frozen=True)
class Thing:
    """One shape and what it does.

    Attributes:
        shape: one of SHAPES.
        colour: one of COLOURS, at the start.
        radius: half its height, in sides of the frame.
        start: cell (column, row), 0-2 each, before it moves.
        end: cell after it moved; equals `start` unless it moves.
        offset: its distance (x, y) from the centre of its cell, the same all the time.
        action: one of ACTIONS.
        begin: time at which the action begins, 0-1.
        finish: time at which it is over; equals `begin` for all but moves.
        new_colour: the colour it turns to; empty for all other actions.
    """

    shape: str
    colour: str
    radius: float
    start: tuple[int, int]
    end: tuple[int, int]
    offset: tuple[float, float]
    action: str
    begin: float = 0.5
    finish: float = 0.5
    new_colour: str = ""

    def centres(self, times: np.ndarray) -> np.ndarray:
        """Where its centre is: [T] times -> [T, 2] (x, y), float64."""
        span = max(self.finish - self.begin, 1e-9)
        done = np.clip((times - self.begin) / span, 0.0, 1.0)[:, None]
        start = np.array([CELL_CENTRES[c] for c in self.start]) + self.offset
        end = np.array([CELL_CENTRES[c] for c in self.end]) + self.offset
        return start + (end - start) * done

    def visible(self, times: np.ndarray) -> np.ndarray:
        """Whether it can be seen: [T] times -> [T] bool."""
        if self.action == "appear":
            return times >= self.begin
        if self.action == "vanish":
            return times < self.begin
        return np.ones(times.shape, dtype=bool)

    def colours(self, times: np.ndarray) -> list[str]:
        """Its colour at each of the times."""
        after = self.new_colour or self.colour
        return [after if t >= self.begin else self.colour for t in times]


@dataclass(frozen=True)
class Script:
    """A clip: a background, and one to three things of different shapes and colours.

    `seconds` is the length of the clip; nothing that is asked depends on it.
    """

    background: str
    things: tuple[Thing, ...]
    seconds: float = 4.0

    def content(self) -> str:
        """What the script says, in a form that doesn't depend on order, jitter, size or length."""
        parts = sorted(
            f"{t.shape},{t.colour},{t.start},{t.end},{t.action},{t.new_colour}" for t in self.things
        )
        return ";".join([self.background, *parts])

    def split(self) -> str:
        """The split that this script belongs to."""
        bucket = int(hashlib.sha256(self.content().encode()).hexdigest(), 16) % 100
        return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def draw_script(
    seed: int | list[int], split: str, things: int | None = None, *, still: bool = False
) -> Script:
    """The script of a seed: the first one drawn that belongs to the split.

    Args:
        seed: anything that `numpy.random.default_rng` takes.
        split: one of SPLITS.
        things: how many things; drawn too where it isn't given.
        still: every thing stays where and as it is.
    """
    rng = np.random.default_rng(seed)
    drawn = int(rng.choice(len(THINGS_SHARES), p=THINGS_SHARES)) + 1
    count = drawn if things is None else things
    while True:
        script = _draw(rng, count, still)
        if script is not None and script.split() == split:
            return script


def _draw(rng: np.random.Generator, count: int, still: bool) -> Script | None:
    """One script; None where its things would touch."""
    shapes = rng.permutation(len(SHAPES))
    colours = rng.permutation(len(COLOURS))
    things = [
        _draw_thing(rng, SHAPES[shapes[i]], COLOURS[colours[i]], COLOURS[colours[-1 - i]], still)
        for i in range(count)
    ]
    if _touch(things):
        return None
    seconds = float(np.round(rng.uniform(2, 12), 1))
    return Script(BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))], tuple(things), seconds)


def _draw_thing(
    rng: np.random.Generator, shape: str, colour: str, other: str, still: bool
) -> Thing:
    action = "stay" if still else str(rng.choice(ACTIONS, p=ACTION_SHARES))
    column, row = (int(c) for c in rng.integers(0, 3, size=2))
    offset = (float(rng.uniform(-0.045, 0.045)), float(rng.uniform(-0.045, 0.045)))
    at = float(rng.uniform(0.3, 0.7))
    radius = float(rng.uniform(0.13, 0.175))
    thing = Thing(shape, colour, radius, (column, row), (column, row), offset, action, at, at)
    if action == "turn":
        return replace(thing, new_colour=other)
    if action in MOVES:
        # Of the three lines of cells across the way, it starts on one of the first two.
        step = np.array(MOVES[action])
        axis = int(np.argmax(np.abs(step)))
        first, last = sorted(rng.choice(3, size=2, replace=False).tolist())
        if step[axis] < 0:
            first, last = last, first
        start, end = [column, row], [column, row]
        start[axis], end[axis] = first, last
        begin, finish = float(rng.uniform(0.0, 0.3)), float(rng.uniform(0.7, 1.0))
        return replace(
            thing,
            start=(start[0], start[1]),
            end=(end[0], end[1]),
            begin=begin,
            finish=finish,
        )
    return thing


# Staying is what a guess would be; moving comes in four ways, so it gets the most.
ACTION_SHARES = [0.16, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12]


def _touch(things: list[Thing]) -> bool:
    """Whether any two of the things come closer than their radii, ever (seen or not)."""
    times = np.linspace(0, 1, 17)
    tracks = [t.centres(times) for t in things]
    for i in range(len(things)):
        for j in range(i):
            gap = np.sqrt(((tracks[i] - tracks[j]) ** 2).sum(-1)).min()
            if gap < (things[i].radius + things[j].radius) * 1.02:
                return True
    return False

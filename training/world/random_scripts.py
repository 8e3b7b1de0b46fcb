"""Draws scripts: how many scenes and events, when they happen, and how it is filmed.

Scripts are split by what they say, not by their seed: the hash of the symbolic content decides
whether a script belongs to training, validation, test or the sample clips. Two scripts of
different splits therefore never say the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from dycoke_cli.shapes.script import (
    COLOURS,
    DIGITS,
    DIRECTIONS,
    LABELS,
    LETTERS,
    NAMES,
    SHAPES,
    SIDES,
    TEXTURES,
    TONES,
    Camera,
    Cell,
    Event,
    Scene,
    Script,
    Thing,
)

SPLITS = {"train": range(0, 88), "validation": range(88, 92), "test": range(92, 96),
          "samples": range(96, 100)}  # fmt: skip
# Numbers are stored to so many decimals: a ten thousandth of a picture's side, or of a clip.
DECIMALS = 4
SEED_LIMIT = 2**31
NEEDLE_SHARE = 0.5
LABEL_SHARES = {"static": 0.3, "mixed": 0.3, "dynamic": 0.4}
SCENE_SHARES = (0.6, 0.3, 0.1)
# Two intervals of 32 evenly spread frames are 2/31 of a clip, and each event takes more.
SHORTEST = 0.085
# No event takes longer than this many of the shortest.
LONGEST = 2.6
# Rest between two events; about a cut there is one on both sides.
REST, CUT_REST = 0.025, 0.08
LAST = 0.965
# Of a long video: seconds that an event takes at least, and seconds in which a background scrolls
# by as far as in one of the others.
LONG_SHORTEST_S, LONG_PAN_S = 3.0, 30.0


@dataclass(frozen=True)
class ScriptLimits:
    """What a script may hold."""

    events: tuple[int, int] = (2, 6)  # least and most events
    scenes: int = 3  # most scenes
    # shares of scenes that begin with one, two, … things
    things: tuple[float, ...] = (0.35, 0.4, 0.25)
    labels: tuple[str, ...] = LABELS  # of LABELS, which may be drawn
    shortest: float = SHORTEST  # what an event takes at least, as a share of the clip
    # length in seconds of a long video, whose events are few and short; 0 for clips of up to a
    # minute
    long_s: int = 0


def long_limits(seconds: int, labels: tuple[str, ...] = LABELS) -> ScriptLimits:
    """What a long video may hold: three to six events of 3 to 8 seconds, anywhere in it."""
    return ScriptLimits((3, 6), labels=labels, shortest=LONG_SHORTEST_S / seconds, long_s=seconds)


def draw_script(seed: int | list[int], split: str, limits: ScriptLimits | None = None) -> Script:
    """The script of a seed: the first one drawn that belongs to the split."""
    rng = np.random.default_rng(seed)
    while True:
        script = _draw(rng, limits or ScriptLimits())
        if script is not None and split_of(script) == split:
            return script


def _draw(rng: np.random.Generator, limits: ScriptLimits) -> Script | None:
    """One script; None where nothing more could happen in a scene."""
    count = int(rng.integers(limits.events[0], limits.events[1] + 1))
    scenes = min(int(rng.choice(3, p=SCENE_SHARES)) + 1, limits.scenes, max(1, count))
    # Which scene each event is in: every scene has one at least.
    drawn = rng.integers(0, scenes, size=max(0, count - scenes))
    inside = sorted([*range(scenes), *drawn.tolist()])[:count]
    slots, cuts = draw_timeline(inside, rng, limits.shortest, sparse=limits.long_s > 0)
    needle = int(rng.integers(count)) if count and rng.random() < NEEDLE_SHARE else -1
    stage = SceneState(rng)
    events: list[Event] = []
    for i in range(max(1, count)):
        if i == 0 or inside[i] != inside[i - 1]:
            stage.open(inside[i] if inside else 0, limits.things)
        if count:
            event = stage.show(slots[i]) if i == needle else stage.act(slots[i])
            if event is None:
                return None
            events.append(event)
    shares = np.array([LABEL_SHARES[label] for label in limits.labels])
    label = str(rng.choice(limits.labels, p=shares / shares.sum()))
    named = rng.permutation(len(stage.things))[:2]
    names = rng.permutation(NAMES)
    return Script(
        things=tuple(stage.things),
        events=tuple(events),
        scenes=tuple(_scene(b, f, label, rng) for b, f in pairwise(cuts)),
        camera=_camera(label, rng, limits.long_s),
        label=label,
        seconds=float(limits.long_s) or _seconds(rng),
        names=tuple((str(n), int(i)) for n, i in zip(names, named, strict=False)),
        seed=int(rng.integers(SEED_LIMIT)),
    )


def _scene(begin: float, finish: float, label: str, rng: np.random.Generator) -> Scene:
    tone = str(rng.choice(TONES))
    texture = str(rng.choice(TEXTURES[1:] if label == "dynamic" else TEXTURES))
    contrast, seed = float(rng.uniform(14, 34)), int(rng.integers(SEED_LIMIT))
    return Scene(begin, finish, tone, texture, contrast, seed)


def _camera(label: str, rng: np.random.Generator, long_s: int) -> Camera:
    quality = int(rng.choice([18, 24, 30, 35]))
    way = rng.choice([-1, 1], size=2)
    if label == "static":
        return Camera((0.0, 0.0), 0.0, float(rng.choice([0.0, 2.0])), quality)
    if label == "mixed":
        # Half of them are held by hand over a still background, half pan slowly.
        pan = way * rng.uniform(0.1, 0.5, size=2) * rng.integers(0, 2)
        shake, noise = rng.uniform(0.004, 0.012), rng.uniform(0, 5)
    else:
        pan = way * rng.uniform(1.0, 3.0, size=2)
        shake, noise = rng.uniform(0.008, 0.02), rng.uniform(3, 10)
    if long_s:
        pan = pan * long_s / LONG_PAN_S
    return Camera((float(pan[0]), float(pan[1])), float(shake), float(noise), quality)


def _seconds(rng: np.random.Generator) -> float:
    """Half of the clips are 30 s or longer."""
    span = (30, 60) if rng.random() < 0.5 else (4, 30)
    return float(np.round(rng.uniform(*span), 1))


def draw_timeline(
    inside: list[int],
    rng: np.random.Generator,
    shortest: float = SHORTEST,
    *,
    sparse: bool = False,
) -> tuple[list[tuple[float, float]], list[float]]:
    """Stretches of time for events in order, one after another.

    Args:
        shortest: what an event takes at least.

    Returns:
        (begin, finish) of each event, and the edges of the scenes [scenes + 1], from 0 to 1.
    """
    count = len(inside)
    rests = [CUT_REST if i and inside[i] != inside[i - 1] else REST for i in range(count)]
    if sparse:
        takes = (shortest * rng.uniform(1, LONGEST, count)).tolist()
        spare = LAST - sum(takes) - sum(rests)
        waits = (rests + rng.dirichlet(np.full(count + 1, 0.8))[:count] * spare).tolist()
    else:
        spare = LAST - count * shortest - sum(rests)
        parts = rng.dirichlet(np.full(2 * count + 1, 0.8)) * spare
        waits = [rests[i] + parts[2 * i] for i in range(count)]
        takes = [min(shortest + parts[2 * i + 1], LONGEST * shortest) for i in range(count)]
    slots, cuts, now = [], [0.0], 0.0
    for i in range(count):
        if rests[i] == CUT_REST:
            cuts.append(now + waits[i] / 2)
        begin = now + waits[i]
        now = begin + takes[i]
        slots.append((float(begin), float(now)))
    return slots, [float(c) for c in [*cuts, 1.0]]


def content(script: Script) -> str:
    """What a script says, in a form free of times, jitter, sizes, camera and order."""
    told = [_named(script, e) for e in script.events]
    cast = sorted(f"{t.scene},{t.colour},{t.shape},{t.cell}" for t in script.things)
    return ";".join([*(s.tone for s in script.scenes), "|", *cast, "|", *told])


def split_of(script: Script) -> str:
    """The split that a script belongs to."""
    bucket = int(hashlib.sha256(content(script).encode()).hexdigest(), 16) % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def _named(script: Script, event: Event) -> str:
    who = [
        f"{script.things[i].colour} {script.things[i].shape}" if i >= 0 else ""
        for i in (event.thing, event.other)
    ]
    return f"{event.deed},{who},{event.way},{event.cell},{event.colour},{event.glyph}"


def to_json(script: Script) -> dict[str, Any]:
    """A script as plain data, which `from_json` reads; what has its default isn't stored."""
    data = _rounded(asdict(script))
    for event in data["events"]:
        for name, default in (("way", ""), ("colour", ""), ("glyph", ""), ("other", -1)):
            if event[name] == default:
                del event[name]
    assert isinstance(data, dict)
    return data


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return value


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

"""An independent witness of a clip: it tells what happened from how the things move and look.

Of a script it reads only when something happens and what the card shows; who did what, which way
and to whom comes from where the things are seen before, amid and after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dycoke_cli.shapes.script import COLOURS, Event, Script, Track, track

HAIR = 1e-6


@dataclass(frozen=True)
class Deed:
    """Who (index; -1 for the card) did what, in words, and whether it went somewhere."""

    who: int
    clause: str
    predicate: str
    travels: bool = False


class Witness:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.names = [self.name(k, self.seen(k)[0]) for k in range(len(script.things))]
        self.last_names = [self.name(k, self.seen(k)[1]) for k in range(len(script.things))]
        ordered = sorted(script.events, key=lambda e: e.begin)
        self.deeds = [self._shown(e) if e.deed == "show" else self._done(e) for e in ordered]

    def look(self, k: int, *times: float) -> Track:
        return track(self.script, k, np.array(times))

    def seen(self, k: int) -> tuple[float, float]:
        """The first and the last time that a thing is in the picture, to a thousandth."""
        times = np.linspace(0, 1, 2001)
        visible = np.flatnonzero(track(self.script, k, times).visible)
        return float(times[visible[0]]), float(times[visible[-1]])

    def name(self, k: int, time: float) -> str:
        return f"{COLOURS[self.look(k, time).colours[0]]} {self.script.things[k].shape}"

    def place(self, k: int, time: float) -> str:
        return place_of(*self.look(k, time).centres[0])

    def inside(self, k: int, time: float) -> bool:
        centre = self.look(k, time)
        return bool(centre.visible[0]) and bool(((centre.centres > 0) & (centre.centres < 1)).all())

    def does(self, k: int) -> list[Deed]:
        return [d for d in self.deeds if d.who == k]

    def _shown(self, event: Event) -> Deed:
        kind = "digit" if event.glyph.isdigit() else "letter"
        return Deed(-1, f"the {kind} {event.glyph} is shown", "is shown")

    def _done(self, event: Event) -> Deed:
        times = event.begin - HAIR, (event.begin + event.finish) / 2, event.finish + HAIR
        changed = [k for k in range(len(self.script.things)) if self._changes(k, event)]
        assert len(changed) == 1, "one thing acts at a time"
        predicate, travels = self._predicate(changed[0], event, *times)
        clause = f"the {self.name(changed[0], event.begin)} {predicate}"
        return Deed(changed[0], clause, predicate, travels)

    def _changes(self, k: int, event: Event) -> bool:
        seen = self.look(k, *np.linspace(event.begin - HAIR, event.finish + HAIR, 9))
        steady = (seen.centres, seen.radius, seen.angle, seen.blend, seen.visible)
        return any(bool((part != part[:1]).any()) for part in steady)

    def _predicate(
        self, k: int, event: Event, before: float, amid: float, after: float
    ) -> tuple[str, bool]:
        seen = self.look(k, before, amid, after)
        if not seen.visible[0]:
            way = direction(self.look(k, event.begin + HAIR).centres[0], seen.centres[2])
            return f"enters from the {OPPOSITE[way]}", True
        if not seen.visible[2]:
            way = direction(seen.centres[0], self.look(k, event.finish).centres[0])
            return f"leaves to the {SIDE_OF[way]}", True
        if seen.hidden[2]:
            return f"hides behind the {self._nearest(k, after)}", True
        if not np.allclose(seen.centres[0], seen.centres[2]):
            return f"moves {direction(seen.centres[0], seen.centres[2])}", True
        if seen.radius[2] != seen.radius[0]:
            return ("grows" if seen.radius[2] > seen.radius[0] else "shrinks"), False
        if seen.angle[2] != seen.angle[0]:
            return "spins", False
        if seen.colours[2] != seen.colours[0]:
            return f"turns {COLOURS[seen.colours[2]]}", False
        # In the middle of two hops a thing is down again; in the middle of a hit it touches.
        if np.allclose(seen.centres[1], seen.centres[0], atol=1e-3):
            return "bounces", False
        return f"hits the {self._nearest(k, amid)}", False

    def _nearest(self, k: int, time: float) -> str:
        mine = self.look(k, time).centres[0]
        gaps = {
            other: float(np.linalg.norm(self.look(other, time).centres[0] - mine))
            for other in range(len(self.script.things))
            if other != k and self.inside(other, time) and not self.look(other, time).hidden[0]
        }
        return self.name(min(gaps, key=lambda other: gaps[other]), time)


SIDE_OF = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
OPPOSITE = {"left": "right", "right": "left", "up": "bottom", "down": "top"}


def direction(source: np.ndarray, target: np.ndarray) -> str:
    """The one way, of four, from a place to another; up is where y falls."""
    x, y = target - source
    assert min(abs(x), abs(y)) < 1e-6, "straight"
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"


def place_of(x: float, y: float) -> str:
    """Where in a picture cut in nine a point is, in words."""
    words = [("top", "", "bottom")[int(y * 3)], ("left", "", "right")[int(x * 3)]]
    held = " ".join(w for w in words if w)
    return f"at the {held}" if held else "in the middle"


def filmed_plainly(script: Script) -> Script:
    """The same script before a plain gray wall, with a camera that neither moves nor sees noise."""
    scenes = tuple(replace(s, tone="gray", texture="plain") for s in script.scenes)
    camera = replace(script.camera, pan=(0.0, 0.0), shake=0.0, noise=0.0)
    return replace(script, scenes=scenes, camera=camera)

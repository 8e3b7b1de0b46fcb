"""Position, size, rotation and colour of a script's things at given times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dycoke_cli.shapes.script import CELL_CENTRES, COLOURS, DIRECTIONS, SIDES, Cell, Event, Script

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

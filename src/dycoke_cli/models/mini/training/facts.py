"""Two lessons besides the answers: facts to be read off single tokens while training runs.

Answers alone teach slowly: a few words a clip, through the whole model. So linear layers read
facts off visual tokens: behind the projector what is there (`seen`), and in the middle of the
language model what has happened so far (`known`). The layers above then only have to look it up.
Every frame's tokens learn all of it, not the last frame's alone: so no single token holds what an
answer needs. The readers are no part of the model, and are thrown away with the run.
"""

from __future__ import annotations

import numpy as np

from dycoke_cli.models.mini.training.architecture import FRAME_TOKENS
from dycoke_cli.shapes.draw.render import shake
from dycoke_cli.shapes.world.motion import at, track
from dycoke_cli.shapes.world.script import Event, Script
from dycoke_cli.shapes.world.vocabulary import (
    CELL_CENTRES,
    COLOURS,
    DIRECTIONS,
    GLYPHS,
    SHAPES,
    SIDES,
    TONES,
)

CELLS = len(CELL_CENTRES)
GRID = int(FRAME_TOKENS**0.5)
# A thing is there for the tokens whose centre is at most this far from its own (sides of a
# picture): so far that there is always one.
NEAR = 0.19
# Radii between which sizes are told apart.
SIZES_AT = (0.085, 0.11, 0.155, 0.19)
DOINGS = (
    "", *(f"enter {s}" for s in SIDES), *(f"leave {s}" for s in SIDES),
    *(f"move {d}" for d in DIRECTIONS), "bounce", "spin", "grow", "shrink", "hit", "hide", "turn",
    "show",
)  # fmt: skip
OTHER_TONE = len(TONES)
# Shape, colour, place, size and tilt of a thing, what a card shows: each with 0 for nothing; and
# the background, which is everywhere.
SEEN = (len(SHAPES) + 1, len(COLOURS) + 1, CELLS**2 + 1, len(SIZES_AT) + 2, 3, len(GLYPHS) + 1,
        len(TONES) + 1)  # fmt: skip
# Of a thing: shape, first colour, first place, what it does or did last. Of the clip so far: how
# many events are over; the last one's deed, doer (colour, shape) and aim (colour, shape); the
# glyph, how many things, which scene; and whether it is the model's world at all.
KNOWN = (len(SHAPES) + 1, len(COLOURS) + 1, CELLS**2 + 1, len(DOINGS), 7, len(DOINGS),
         len(COLOURS) + 1, len(SHAPES) + 1, len(COLOURS) + 1, len(SHAPES) + 1, len(GLYPHS) + 1,
         6, 3, 2)  # fmt: skip
LAST_EVENT = slice(4, 10)


def seen_facts(script: Script, times: np.ndarray) -> np.ndarray:
    """What each token should tell of its own frame: [F] times -> [F, 16, 7] int64, see SEEN."""
    found = np.zeros((len(times), FRAME_TOKENS, len(SEEN)), dtype=np.int64)
    for scene in script.scenes:
        inside = (times >= scene.begin) & ((times < scene.finish) | (scene.finish >= 1.0))
        found[inside, :, 6] = TONES.index(scene.tone)
    jumps = shake(script, times)
    nearest = np.full((len(times), FRAME_TOKENS), NEAR)
    for k, thing in enumerate(script.things):
        where = track(script, k, times)
        here = _claim_tokens(where.centres + jumps, where.visible & ~where.hidden, nearest)
        size = np.searchsorted(SIZES_AT, where.radius)
        tilted = np.abs(np.sin(where.angle * 2)) > 0.15
        shape = np.array(SHAPES.index(thing.shape))
        places = _cells(where.centres + jumps)
        for i, fact in enumerate((shape, where.colours, places, size, tilted)):
            found[here, i] = np.broadcast_to(np.reshape(fact, (-1, 1)), here.shape)[here] + 1
    for event in (e for e in script.events if e.deed == "show"):
        assert event.cell is not None
        shown = (times >= event.begin) & (times < event.finish)
        far = np.full((len(times), FRAME_TOKENS), NEAR)
        here = _claim_tokens(at(event.cell, (0, 0)) + jumps, shown, far)
        found[here, 5] = GLYPHS.index(event.glyph) + 1
    return found


def known_facts(script: Script, times: np.ndarray) -> np.ndarray:
    """What each token should know by then: [F] times -> [F, 16, 14] int64, see KNOWN.

    Only what can be known from these frames and no later one counts.
    """
    found = np.zeros((len(times), FRAME_TOKENS, len(KNOWN)), dtype=np.int64)
    jumps = shake(script, times)
    nearest = np.full((len(times), FRAME_TOKENS), NEAR)
    ever = np.zeros((len(script.things), len(times)), dtype=bool)
    for k, thing in enumerate(script.things):
        where = track(script, k, times)
        visible = where.visible & ~where.hidden
        ever[k] = np.logical_or.accumulate(visible)
        here = _claim_tokens(where.centres + jumps, visible, nearest)
        place = 0 if thing.cell is None else thing.cell[1] * CELLS + thing.cell[0] + 1
        facts = (SHAPES.index(thing.shape) + 1, COLOURS.index(thing.colour) + 1, place)
        for i, fact in enumerate((*map(np.array, facts), _doing_now(script, k, times))):
            found[here, i] = np.broadcast_to(np.reshape(fact, (-1, 1)), here.shape)[here]
    for i, event in enumerate(script.events):
        over = times >= event.finish
        found[over, :, 4] = i + 1
        found[over, :, 5] = doing(event)
        for at_fact, who in ((6, event.thing), (8, event.other)):
            found[over, :, at_fact] = found[over, :, at_fact + 1] = 0
            if who >= 0:
                now = track(script, who, np.array([event.begin]))
                found[over, :, at_fact] = int(now.colours[0]) + 1
                found[over, :, at_fact + 1] = SHAPES.index(script.things[who].shape) + 1
        if event.deed == "turn":
            found[over, :, 8] = COLOURS.index(event.colour) + 1
        if event.deed == "show":
            begun = times >= event.begin
            found[begun, :, 10] = GLYPHS.index(event.glyph) + 1
    found[..., 11] = ever.sum(0)[:, None]
    scenes = sum((times >= s.begin).astype(np.int64) for s in script.scenes) - 1
    found[..., 12] = np.clip(scenes, 0, None)[:, None]
    return found


def foreign_facts(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The facts of a clip that isn't of the model's world: `seen` and `known`."""
    seen = np.zeros((frames, FRAME_TOKENS, len(SEEN)), dtype=np.int64)
    known = np.zeros((frames, FRAME_TOKENS, len(KNOWN)), dtype=np.int64)
    seen[..., 6] = OTHER_TONE
    known[..., 13] = 1
    return seen, known


def token_centres() -> np.ndarray:
    """Centres (x, y) of a frame's tokens, in the order of the tokens: [16, 2]."""
    line = (np.arange(GRID) + 0.5) / GRID
    return np.stack([np.tile(line, GRID), np.repeat(line, GRID)], axis=-1)


def doing(event: Event) -> int:
    """Index of an event's deed, with its way, in DOINGS."""
    return DOINGS.index(f"{event.deed} {event.way}" if event.way else event.deed)


def _doing_now(script: Script, k: int, times: np.ndarray) -> np.ndarray:
    now = np.zeros(len(times), dtype=np.int64)
    for event in (e for e in script.events if e.thing == k):
        now[times >= event.begin] = doing(event)
    return now


def _claim_tokens(centres: np.ndarray, visible: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Tokens [F, 16] that a thing at centres [F, 2] (or [2]) is nearest to, so far."""
    gaps = np.linalg.norm(np.reshape(centres, (-1, 1, 2)) - token_centres(), axis=-1)
    here = (gaps < nearest) & visible[:, None]
    nearest[here] = np.broadcast_to(gaps, nearest.shape)[here]
    return here


def _cells(centres: np.ndarray) -> np.ndarray:
    cells = np.clip((centres * CELLS).astype(int), 0, CELLS - 1)
    return cells[:, 1] * CELLS + cells[:, 0]

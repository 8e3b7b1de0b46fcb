"""Auxiliary targets of visual tokens: what a probe should read off each of them.

Answers alone teach slowly: a few words per clip, through the whole model. So probes read facts off
visual tokens: behind the projector what is there (`seen`), early in the language model what has
just changed (`changed`), in its middle what has happened so far (`known`), and right above what
happened before that (`earlier`): so that what comes after an event, or before it, is one step of
attention away. The layers above then only have to look it up. Every frame's tokens learn all of it,
not the last frame's alone: so no single token holds what an answer needs. A frame has a grid of
N = GRID * GRID tokens.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dycoke_cli.shapes.render import shake
from dycoke_cli.shapes.script import (
    CELL_CENTRES,
    COLOURS,
    DIRECTIONS,
    GLYPHS,
    SHAPES,
    SIDES,
    TONES,
    Event,
    Script,
    at,
    track,
)
from training.model import FRAME_TOKENS, GRID

CELLS = len(CELL_CENTRES)
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
# Cells a side of the finer grid of places.
FINE = 8
# Shape, colour, place, size and tilt of a thing, what a card shows: each with 0 for nothing; the
# background, which is everywhere; and where in an 8 x 8 grid the thing is (column, row).
SEEN = (len(SHAPES) + 1, len(COLOURS) + 1, CELLS**2 + 1, len(SIZES_AT) + 2, 3, len(GLYPHS) + 1,
        len(TONES) + 1, FINE + 1, FINE + 1)  # fmt: skip
# Of a thing: shape, first colour, first place, what it does or did last. Of the clip so far: how
# many events are over; the last one's deed, doer (colour, shape) and aim (colour, shape); the
# glyph, how many things, which scene; and whether it is the model's world at all.
KNOWN = (len(SHAPES) + 1, len(COLOURS) + 1, CELLS**2 + 1, len(DOINGS), 7, len(DOINGS),
         len(COLOURS) + 1, len(SHAPES) + 1, len(COLOURS) + 1, len(SHAPES) + 1, len(GLYPHS) + 1,
         6, 3, 2)  # fmt: skip
LAST_EVENT = slice(4, 10)
# Of the event before the last one that is over: deed, doer (colour, shape), aim (colour, shape).
EARLIER = KNOWN[5:10]
# Since the frame before, of a thing: where it moved (still, left, right, up, down), its size (same,
# larger, smaller), whether it was turned, changed its colour, is new: each with 0 for no thing.
CHANGED = (6, 4, 3, 3, 3)
# What counts as a move (sides of the picture), as another size (share of it), as a turn (radians).
MOVED, RESIZED, TURNED, RECOLOURED = 0.03, 0.04, 0.1, 0.1


def seen_facts(script: Script, times: np.ndarray) -> np.ndarray:
    """What each token should tell of its own frame: [F] times -> [F, N, 9] int64, see SEEN."""
    found = np.zeros((len(times), FRAME_TOKENS, len(SEEN)), dtype=np.int64)
    for scene in script.scenes:
        found[scene.covers(times), :, 6] = TONES.index(scene.tone)
    jumps = shake(script, times)
    nearest = np.full((len(times), FRAME_TOKENS), NEAR)
    for k, thing in enumerate(script.things):
        where = track(script, k, times)
        here = tokens_near(where.centres + jumps, where.visible & ~where.hidden, nearest)
        size = np.searchsorted(SIZES_AT, where.radius)
        tilted = np.abs(np.sin(where.angle * 2)) > 0.15
        shape = np.array(SHAPES.index(thing.shape))
        places = _cells(where.centres + jumps)
        column, row = np.clip(((where.centres + jumps) * FINE).astype(int), 0, FINE - 1).T
        facts = (shape, where.colours, places, size, tilted, column, row)
        for i, fact in zip((0, 1, 2, 3, 4, 7, 8), facts, strict=True):
            found[here, i] = _at_tokens(fact, here) + 1
    for event in (e for e in script.events if e.deed == "show"):
        assert event.cell is not None
        shown = (times >= event.begin) & (times < event.finish)
        far = np.full((len(times), FRAME_TOKENS), NEAR)
        here = tokens_near(at(event.cell, (0, 0)) + jumps, shown, far)
        found[here, 5] = GLYPHS.index(event.glyph) + 1
    return found


def changed_facts(script: Script, times: np.ndarray) -> np.ndarray:
    """What is new since the frame before: [F] times -> [F, N, 5] int64, see CHANGED.

    The shake of the camera is no move. Of a thing that wasn't seen just before, it is only told
    that it is new; of the first frame nothing.
    """
    found = np.zeros((len(times), FRAME_TOKENS, len(CHANGED)), dtype=np.int64)
    jumps = shake(script, times)
    nearest = np.full((len(times), FRAME_TOKENS), NEAR)
    for k in range(len(script.things)):
        where = track(script, k, times)
        visible = where.visible & ~where.hidden
        here = tokens_near(where.centres + jumps, visible, nearest)
        shown = np.asarray(here.any(axis=1))
        before = np.concatenate([[False], shown[:-1]])
        step = np.diff(where.centres, axis=0, prepend=where.centres[:1])
        along = np.where(np.abs(step[:, 0]) >= np.abs(step[:, 1]), 0, 1)
        size = np.take_along_axis(step, along[:, None], 1)[:, 0]
        way = np.where(np.abs(size) < MOVED, 1, 2 + 2 * along + (size > 0))
        growth = np.diff(where.radius, prepend=where.radius[0]) / where.radius
        resized = 1 + (growth > RESIZED) + 2 * (growth < -RESIZED)
        turned = 1 + (np.diff(where.angle, prepend=where.angle[0]) > TURNED)
        recoloured = 1 + (np.diff(where.blend, prepend=where.blend[0]) > RECOLOURED)
        new = np.where(before, 1, 2)
        for i, fact in enumerate((way, resized, turned, recoloured)):
            found[here, i] = _at_tokens(fact * before, here)
        found[here, 4] = _at_tokens(new, here)
    found[0] = 0
    return found


def known_facts(script: Script, times: np.ndarray) -> np.ndarray:
    """What each token should know by then: [F] times -> [F, N, 14] int64, see KNOWN.

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
        here = tokens_near(where.centres + jumps, visible, nearest)
        place = 0 if thing.cell is None else thing.cell[1] * CELLS + thing.cell[0] + 1
        facts = (SHAPES.index(thing.shape) + 1, COLOURS.index(thing.colour) + 1, place)
        for i, fact in enumerate((*map(np.array, facts), _doing_now(script, k, times))):
            found[here, i] = _at_tokens(fact, here)
    for i, event in enumerate(script.events):
        over = times >= event.finish
        found[over, :, 4] = i + 1
        found[over, :, 5:10] = _told_of(script, event)
        if event.deed == "show":
            begun = times >= event.begin
            found[begun, :, 10] = GLYPHS.index(event.glyph) + 1
    found[..., 11] = ever.sum(0)[:, None]
    scenes = sum((times >= s.begin).astype(np.int64) for s in script.scenes) - 1
    found[..., 12] = np.clip(scenes, 0, None)[:, None]
    return found


def earlier_facts(script: Script, times: np.ndarray) -> np.ndarray:
    """What happened before the last event that is over: [F] times -> [F, N, 5] int64, EARLIER."""
    found = np.zeros((len(times), FRAME_TOKENS, len(EARLIER)), dtype=np.int64)
    for before, event in pairwise(script.events):
        found[times >= event.finish] = _told_of(script, before)
    return found


def facts_of(script: Script, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """All targets of a clip: `seen`, `changed`, `known` and `earlier`."""
    targets = (seen_facts, changed_facts, known_facts, earlier_facts)
    return tuple(facts(script, times) for facts in targets)


def out_of_domain_facts(frames: int) -> tuple[np.ndarray, ...]:
    """The same of a clip that isn't of the model's world."""
    seen = np.zeros((frames, FRAME_TOKENS, len(SEEN)), dtype=np.int64)
    known = np.zeros((frames, FRAME_TOKENS, len(KNOWN)), dtype=np.int64)
    seen[..., 6] = OTHER_TONE
    known[..., 13] = 1
    changed, earlier = (
        np.zeros((frames, FRAME_TOKENS, len(sizes)), dtype=np.int64) for sizes in (CHANGED, EARLIER)
    )
    return seen, changed, known, earlier


def token_centres() -> np.ndarray:
    """Centres (x, y) of a frame's tokens, in the order of the tokens: [N, 2]."""
    line = (np.arange(GRID) + 0.5) / GRID
    return np.stack([np.tile(line, GRID), np.repeat(line, GRID)], axis=-1)


def doing(event: Event) -> int:
    """Index of an event's deed, with its way, in DOINGS."""
    return DOINGS.index(f"{event.deed} {event.way}" if event.way else event.deed)


def _told_of(script: Script, event: Event) -> list[int]:
    """Deed, doer (colour, shape) and aim (colour, shape) of an event, 0 for none."""
    found = [doing(event)]
    for who in (event.thing, event.other):
        if who < 0:
            found += [0, 0]
            continue
        now = track(script, who, np.array([event.begin]))
        found += [int(now.colours[0]) + 1, SHAPES.index(script.things[who].shape) + 1]
    if event.deed == "turn":
        found[3] = COLOURS.index(event.colour) + 1
    return found


def _doing_now(script: Script, k: int, times: np.ndarray) -> np.ndarray:
    now = np.zeros(len(times), dtype=np.int64)
    for event in (e for e in script.events if e.thing == k):
        now[times >= event.begin] = doing(event)
    return now


def tokens_near(centres: np.ndarray, visible: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Which tokens a thing is there for.

    Args:
        centres: [F, 2] or [2], float, sides of the picture.
        visible: [F] bool.
        nearest: [F, N] float: how near the nearest thing so far is; brought up to date.

    Returns:
        [F, N] bool.
    """
    gaps = np.linalg.norm(np.reshape(centres, (-1, 1, 2)) - token_centres(), axis=-1)
    here = (gaps < nearest) & visible[:, None]
    nearest[here] = np.broadcast_to(gaps, nearest.shape)[here]
    return here


def _at_tokens(fact: np.ndarray, here: np.ndarray) -> np.ndarray:
    """A fact of a thing, [F] or one for all frames, for each of its tokens `here` [F, N]."""
    return np.broadcast_to(np.reshape(fact, (-1, 1)), here.shape)[here]


def _cells(centres: np.ndarray) -> np.ndarray:
    cells = np.clip((centres * CELLS).astype(int), 0, CELLS - 1)
    return cells[:, 1] * CELLS + cells[:, 0]

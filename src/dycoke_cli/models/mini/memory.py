"""A lesson for the language model: to tell, token by token, what has happened to the thing there.

A question teaches a few words a clip. Read off the visual tokens in the middle of the language
model, every frame teaches what is or was at each place, where it came from and what it has done so
far; the layers above then only have to look it up. Like the reading of `eyes`, this is thrown away
with the run. Every frame's tokens learn it, not the last frame's alone: so no single frame, or
token, holds what an answer needs.
"""

from __future__ import annotations

import numpy as np

from dycoke_cli.models.mini.architecture import FRAME_TOKENS
from dycoke_cli.models.mini.eyes import CELLS, NEAR, NOTHING, token_centres
from dycoke_cli.models.mini.world import ACTIONS, COLOURS, MOVES, SHAPES, Script, Thing

# Shape, first colour, first place, action: each with 0 for nothing.
SIZES = (len(SHAPES) + 1, len(COLOURS) + 1, CELLS**2 + 1, len(ACTIONS) + 1)
# The layer of the language model (from 1) whose output is read.
LAYER = 4
# A thing has moved when it is this far from where it was first (sides of a frame).
MOVED = 0.08


def what_happened(script: Script, times: np.ndarray) -> np.ndarray:
    """What each token should know by then: [F] times -> [F, 16, 4] int64, see SIZES.

    Only what can be known from these frames and no later one counts. A thing that vanished is
    still known where it was; one that wasn't seen yet isn't.
    """
    found = np.full((len(times), FRAME_TOKENS, len(SIZES)), NOTHING, dtype=np.int64)
    nearest = np.full((len(times), FRAME_TOKENS), NEAR)
    for thing in script.things:
        centres = thing.centres(times)
        gaps = np.linalg.norm(centres[:, None] - token_centres(), axis=-1)
        ever = np.logical_or.accumulate(thing.visible(times))
        here = (gaps < nearest) & ever[:, None]
        nearest[here] = gaps[here]
        first = int(np.argmax(ever))
        column, row = (int(c * CELLS) for c in np.clip(centres[first], 0, 0.999))
        done = np.array([ACTIONS.index(a) + 1 for a in _deeds_so_far(thing, times, centres)])
        found[here, 0] = SHAPES.index(thing.shape) + 1
        found[here, 1] = COLOURS.index(thing.colours(times)[first]) + 1
        found[here, 2] = row * CELLS + column + 1
        found[here, 3] = np.broadcast_to(done[:, None], here.shape)[here]
    return found


def _deeds_so_far(thing: Thing, times: np.ndarray, centres: np.ndarray) -> list[str]:
    """Its action where these frames have shown it by then, else "stay"."""
    if thing.action in MOVES:
        shown = np.abs(centres - centres[0]).max(-1) > MOVED
    else:
        shown = (times >= thing.begin) & (times[0] < thing.begin)
    return [thing.action if s else "stay" for s in shown]

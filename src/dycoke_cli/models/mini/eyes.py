"""A second lesson for the vision tower: to tell, token by token, which thing is there.

Answers alone teach shapes very slowly: a few words a clip, through the whole language model. So a
linear layer reads shape, colour and place off each visual token while training runs. It is no part
of the model, and is thrown away with the run.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dycoke_cli.models.mini.architecture import FRAME_TOKENS, TEXT_WIDTH
from dycoke_cli.models.mini.world import BACKGROUNDS, CELL_CENTRES, COLOURS, SHAPES, Script

NOTHING = 0
CELLS = len(CELL_CENTRES)
# Shape, colour, place: each with 0 for nothing; and the background, which is everywhere.
SIZES = (len(SHAPES) + 1, len(COLOURS) + 1, CELLS**2 + 1, len(BACKGROUNDS))
GRID = int(FRAME_TOKENS**0.5)
# A thing is there for the tokens whose centre is at most this far from its own (sides of a frame):
# so far that there is always one.
NEAR = 0.19


def what_is_where(script: Script, times: np.ndarray) -> np.ndarray:
    """What each token should tell: [F] times -> [F, 16, 4] int64, see SIZES.

    Things count from 1, in the order of SHAPES and COLOURS and along the rows of cells.
    """
    found = np.full((len(times), FRAME_TOKENS, len(SIZES)), NOTHING, dtype=np.int64)
    found[..., 3] = BACKGROUNDS.index(script.background)
    nearest = np.full((len(times), FRAME_TOKENS), NEAR)
    for thing in script.things:
        centres = thing.centres(times)
        gaps = np.linalg.norm(centres[:, None] - token_centres(), axis=-1)
        here = (gaps < nearest) & thing.visible(times)[:, None]
        nearest[here] = gaps[here]
        colours = np.array([COLOURS.index(c) + 1 for c in thing.colours(times)])
        found[here, 0] = SHAPES.index(thing.shape) + 1
        found[here, 1] = np.broadcast_to(colours[:, None], here.shape)[here]
        cells = np.clip((centres * CELLS).astype(int), 0, CELLS - 1)
        places = cells[:, 1] * CELLS + cells[:, 0] + 1
        found[here, 2] = np.broadcast_to(places[:, None], here.shape)[here]
    return found


def token_centres() -> np.ndarray:
    """Centres (x, y) of a frame's tokens, in the order of the tokens: [16, 2]."""
    line = (np.arange(GRID) + 0.5) / GRID
    return np.stack([np.tile(line, GRID), np.repeat(line, GRID)], axis=-1)


class Reader(nn.Module):
    """A linear layer that reads several facts off tokens, each one of a few classes."""

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.read = nn.Linear(TEXT_WIDTH, sum(sizes))

    def loss(self, tokens: Tensor, facts: Tensor) -> tuple[Tensor, float]:
        """Loss of tokens [N, width] against the facts [N, facts], and the share told right.

        The share is over the tokens where something is; all facts must be right.
        """
        parts = torch.split(self.read(tokens), self.sizes, dim=-1)
        losses = [nn.functional.cross_entropy(p.float(), facts[:, i]) for i, p in enumerate(parts)]
        right = torch.stack([p.argmax(-1) == facts[:, i] for i, p in enumerate(parts)]).all(0)
        something = facts[:, 0] != NOTHING
        return torch.stack(losses).sum(), float(right[something].float().mean())

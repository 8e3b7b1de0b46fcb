"""The control that a method must beat in space: fewer tokens of each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import FrameBudgeted, MergingEarly
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.similar import sides
from dycoke_cli.lazy_torch import torch


@dataclass(frozen=True)
class UniformSpatial(FrameBudgeted, MergingEarly):
    """The same fraction of each frame, evenly spaced on its grid, whatever its content.

    The spread moves on from frame to frame, so that every position is seen in turn: at a quarter,
    each frame has one of each 2x2 positions, and four frames have all of them. Where the budget
    can't be shared out equally, some frames, evenly spaced, keep one token more than the others.
    """

    name: ClassVar[str] = "uniform-spatial"
    title: ClassVar[str] = "Uniform spatial"
    summary: ClassVar[str] = "an even stride over each frame (a control)"
    windowed: ClassVar[bool] = True

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The spread of each frame."""
        per_frame = inputs.features.shape[1]
        chosen = [
            frame * per_frame + spread(count, per_frame, frame)
            for frame, count in enumerate(self.tokens_of_frames(inputs))
        ]
        return Selection(torch.cat(chosen).to(inputs.features.device))


def spread(count: int, per_frame: int, turn: int = 0) -> torch.Tensor:
    """Positions spread evenly over a frame's grid: an even stride along a Z-order curve.

    A stride along rows would take whole columns, and leave out those between, where it divides
    their number; along the curve each block of 2x2, 4x4, … positions has its share.

    Args:
        count: how many, at most N.
        per_frame: N, positions in the grid, row by row.
        turn: where the stride begins: one position later at each, until all had their turn.

    Returns:
        `[count]`, int64, ascending.
    """
    width = sides(per_frame)[1]
    places = torch.arange(per_frame)
    row, column = places // width, places % width
    curve = torch.zeros_like(places)
    for bit in range(width.bit_length()):
        curve |= (column >> bit & 1) << 2 * bit | (row >> bit & 1) << 2 * bit + 1
    turns = -(-per_frame // max(1, count))
    start = turn % turns
    # Position i of the stride is at (i + start / turns) * N / count.
    steps = (torch.arange(count) * turns + start) * per_frame // (turns * max(1, count))
    return curve.argsort()[steps].sort().values

"""The control that a method must beat in pixels: smaller pictures."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

from dycoke_cli.compression.budget import Budgeted, evenly, shares
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.similar import sides, wide
from dycoke_cli.lazy_torch import torch


@dataclass(frozen=True)
class Downsample(Budgeted):
    """Each frame scaled down, whatever its content: would fewer pixels have done?

    VTC-Bench (arXiv 2510.07143) shows models that take any size smaller pictures, and finds that
    many methods don't beat that. A vision tower of one size can't be asked so: its weights know
    things at the size that they have there, and what is lost in a smaller picture and what is lost
    by a tower that never saw one can't be told apart. So here a frame is scaled down by the root of
    the budget in both directions, by area, and up again (bicubic): what the smaller picture hasn't
    got, the tower doesn't see. Its tokens are then pooled to as many as that picture would have
    had: the mean over each cell of a coarser grid, by area, at the place of the token in the cell's
    middle. That is kinder to the control than a smaller picture is, which the tower would have to
    read with interpolated places; and it saves nothing in the tower.

    Where a frame's share of the budget isn't a grid of whole rows, some rows have a cell less than
    others.
    """

    name: ClassVar[str] = "downsample"
    title: ClassVar[str] = "Downsampling"
    summary: ClassVar[str] = "frames of fewer pixels (a control)"

    def shrink(self) -> float | None:
        """The root of the budget."""
        return sqrt(self.retain) if self.retain < 1 else None

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The cells of all frames."""
        features = inputs.features
        frames, per_frame = features.shape[:2]
        total = self.kept_tokens(frames, per_frame)
        if total == frames * per_frame:
            return super().choose(inputs)
        weights, middles = {}, {}
        counts = shares(total, frames)
        for count in {*counts}:
            cells, middles[count] = grid_of_cells(count, per_frame)
            weights[count] = wide(cells).to(features.device)
        at = torch.cat([n * per_frame + middles[count] for n, count in enumerate(counts)])
        pooled = [
            weights[count] @ wide(frame) for count, frame in zip(counts, features, strict=True)
        ]
        into = [
            n * per_frame + middles[count][weights[count].cpu().argmax(0)]
            if count
            else torch.full((per_frame,), -1)
            for n, count in enumerate(counts)
        ]
        device = features.device
        return Selection(at.to(device), torch.cat(pooled), torch.cat(into).to(device))


def grid_of_cells(count: int, per_frame: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A frame's grid of tokens in fewer cells.

    Args:
        count: cells, at most N.
        per_frame: N.

    Returns:
        `[count, N]`, float32: the share of each token in the mean of each cell, which add up to 1;
        and `[count]`, int64, ascending: the token in the middle of each.
    """
    height, width = sides(per_frame)
    rows = max(round(sqrt(count * height / width)), -(-count // width))
    along, middle = _cells(rows, height), evenly(rows, height)
    weights, middles = [torch.zeros(0, per_frame)], [middle[:0]]
    for row, columns in enumerate(shares(count, rows) if rows else ()):
        across = _cells(columns, width)
        weights.append((along[row][:, None] * across[:, None]).flatten(1))
        middles.append(middle[row] * width + evenly(columns, width))
    return torch.cat(weights), torch.cat(middles)


def _cells(count: int, of: int) -> torch.Tensor:
    """`[count, of]`: the share of each of `of` numbers in that many equal parts of a line."""
    ends = torch.arange(count + 1) * (of / max(1, count))
    places = torch.arange(of)
    least, most = ends[:-1, None].maximum(places), ends[1:, None].minimum(places + 1)
    shared = (most - least).clamp(min=0)
    return shared / shared.sum(-1, keepdim=True)

"""A layout: where, in the sequence its language model reads, visual tokens stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Layout:
    """The visual tokens of one video in one sequence, in reading order.

    Newline, separator and time stamp tokens are text for this purpose.

    Args:
        index: `[V]`, int64, ascending: the row of each visual token in the sequence.
        frame: `[V]`, int64: the frame it belongs to.
        position: `[V]`, int64: its position in the frame's grid.
    """

    index: torch.Tensor
    frame: torch.Tensor
    position: torch.Tensor

    @property
    def frames(self) -> int:
        """The number of frames."""
        return int(self.frame[-1]) + 1

    @property
    def tokens_per_frame(self) -> int:
        """The number of visual tokens a frame."""
        return len(self.index) // self.frames

    def grid(self, rows: torch.Tensor) -> torch.Tensor:
        """The visual tokens of `rows[S, D]` as `[F, N, D]`."""
        visual = rows[self.index.to(rows.device)]
        return visual.view(self.frames, self.tokens_per_frame, -1)


def a_run_a_frame(index: torch.Tensor) -> Layout:
    """Frames that something else stands between: time stamps, separators.

    Args:
        index: `[V]`, int64, ascending: the rows of all placeholders.

    Raises:
        UsageError: runs of unequal length.
    """
    return _equal(index, (index.diff(prepend=index[:1] - 2) > 1).nonzero().flatten())


def one_run(index: torch.Tensor, tokens_per_frame: int) -> Layout:
    """Frames of a known size in one run; a remainder is text.

    Args:
        index: `[V]`, int64, ascending: the rows of all placeholders.
        tokens_per_frame: N.

    Raises:
        UsageError: more than one run: more than one video.
    """
    import torch

    _check_one_run(index)
    frames = len(index) // tokens_per_frame
    index = index[: frames * tokens_per_frame]
    return _equal(index, torch.arange(frames, device=index.device) * tokens_per_frame)


def one_run_of_grids(index: torch.Tensor, places: torch.Tensor) -> Layout:
    """Frames in one run whose tokens have places: a frame starts where the first place comes back.

    Args:
        index: `[V]`, int64, ascending: the rows of all placeholders.
        places: `[2, V]`, int64: height and width of each in its frame.

    Raises:
        UsageError: more than one run: more than one video.
    """
    _check_one_run(index)
    starts = (places == places[:, :1]).all(0).nonzero().flatten()
    return _equal(index, starts)


def _equal(index: torch.Tensor, starts: torch.Tensor) -> Layout:
    """The layout of frames that begin at `starts` in `index`."""
    import torch

    frames = len(starts)
    tokens = len(index) // frames
    if not torch.equal(starts, torch.arange(frames, device=starts.device) * tokens):
        raise UsageError(
            "the frames of this prompt have unequal numbers of tokens (more than one video, or "
            "frames that were thinned out before)"
        )
    order = torch.arange(len(index), device=index.device)
    return Layout(index, order // tokens, order % tokens)


def _check_one_run(index: torch.Tensor) -> None:
    if int(index[-1] - index[0]) + 1 != len(index):
        raise UsageError("a prompt with more than one video isn't supported yet")

"""Layout of a video's visual tokens in a sequence, and the rules that divide them into frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Layout:
    """Visual tokens of one video in one sequence, frame by frame in row-major order.

    Newline, separator and time stamp tokens count as text.
    """

    index: torch.Tensor  # `[V]`, int64, ascending: position of each visual token in the sequence
    frame: torch.Tensor  # `[V]`, int64: its frame
    position: torch.Tensor  # `[V]`, int64: its position in the frame's flattened grid

    @property
    def frames(self) -> int:
        """The number of frames."""
        return int(self.frame[-1]) + 1

    @property
    def tokens_per_frame(self) -> int:
        """The number of visual tokens per frame."""
        return len(self.index) // self.frames

    @classmethod
    def join(cls, layouts: Sequence[Layout]) -> Layout | None:
        """Join the layouts of all videos of a sequence; None without any.

        Frames of different videos may differ in size, so the result has no `tokens_per_frame`.
        """
        import torch

        if len(layouts) < 2:
            return layouts[0] if layouts else None
        starts = accumulate((layout.frames for layout in layouts[:-1]), initial=0)
        return cls(
            torch.cat([layout.index for layout in layouts]),
            torch.cat([x.frame + start for x, start in zip(layouts, starts, strict=True)]),
            torch.cat([layout.position for layout in layouts]),
        )

    def grid(self, rows: torch.Tensor) -> torch.Tensor:
        """Visual tokens of `rows[S, D]` as `[F, N, D]`."""
        visual = rows[self.index.to(rows.device)]
        return visual.view(self.frames, self.tokens_per_frame, -1)


def frame_per_run(index: torch.Tensor) -> Layout:
    """Layout with one frame per run of placeholders: time stamps or separators divide frames.

    Args:
        index: `[V]`, int64, ascending: positions of all placeholders.

    Raises:
        UsageError: runs of unequal length.
    """
    # Prepending a value 2 below the first index makes the first placeholder start a run as well.
    return _equal(index, (index.diff(prepend=index[:1] - 2) > 1).nonzero().flatten())


def frames_of_size(index: torch.Tensor, tokens_per_frame: int) -> Layout:
    """Layout of frames of a known size in one run; a remainder is text.

    Args:
        index: `[V]`, int64, ascending: positions of all placeholders.
        tokens_per_frame: N.

    Raises:
        UsageError: more than one run: more than one video.
    """
    import torch

    _check_one_run(index)
    frames = len(index) // tokens_per_frame
    index = index[: frames * tokens_per_frame]
    return _equal(index, torch.arange(frames, device=index.device) * tokens_per_frame)


def frames_by_grid(index: torch.Tensor, places: torch.Tensor, audio: torch.Tensor) -> Layout:
    """Layout of frames in one run: a frame starts where the first grid position recurs.

    Args:
        index: `[V]`, int64, ascending: positions of all placeholders.
        places: `[2, V]`, int64: row and column of each token in its frame.
        audio: `[A]`, int64: positions of audio tokens, which may separate frames.

    Raises:
        UsageError: more than one run: more than one video.
    """
    _check_one_run(index, audio)
    starts = (places == places[:, :1]).all(0).nonzero().flatten()
    return _equal(index, starts)


def _equal(index: torch.Tensor, starts: torch.Tensor) -> Layout:
    """Layout of frames of equal size that begin at `starts` in `index`."""
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


def _check_one_run(index: torch.Tensor, audio: torch.Tensor | None = None) -> None:
    first, last = int(index[0]), int(index[-1])
    # Audio tokens between frames lengthen the run; any other gap means a second video.
    between = 0 if audio is None else int(((audio > first) & (audio < last)).sum())
    if last - first + 1 != len(index) + between:
        raise UsageError("a prompt with more than one video isn't supported yet")

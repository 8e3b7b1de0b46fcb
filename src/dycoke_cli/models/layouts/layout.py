"""A family is a layout: where, in the sequence its language model reads, visual tokens stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dycoke_cli.errors import UsageError


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


def equal_frames(input_ids: torch.Tensor, token_id: int, tokens_per_frame: int) -> Layout | None:
    """The layout of one run of placeholders that holds equal frames; a remainder is text.

    Args:
        input_ids: `[S]`, int64.
        token_id: the placeholder.
        tokens_per_frame: N.

    Returns:
        None where the sequence has no placeholder.

    Raises:
        UsageError: more than one run: more than one video.
    """
    rows = (input_ids == token_id).nonzero().flatten()
    if not len(rows):
        return None
    if int(rows[-1] - rows[0]) + 1 != len(rows):
        raise UsageError("a prompt with more than one video isn't supported yet")
    frames = len(rows) // tokens_per_frame
    index = rows[: frames * tokens_per_frame]
    order = torch.arange(len(index), device=index.device)
    return Layout(index, order // tokens_per_frame, order % tokens_per_frame)

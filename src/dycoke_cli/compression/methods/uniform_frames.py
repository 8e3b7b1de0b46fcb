"""The control that a method must beat in time: fewer frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import MergingEarly, evenly
from dycoke_cli.compression.methods.uniform_spatial import spread
from dycoke_cli.lazy_torch import torch


@dataclass(frozen=True)
class UniformFrames(MergingEarly):
    """Whole frames, evenly spaced, whatever their content.

    As many frames as the budget takes, each the middle one of an equal part of the video. Where
    the budget isn't a whole number of frames, the last of them keeps what is left, spread over its
    positions as `uniform-spatial` does. At a budget below one frame that is a part of the middle
    frame.
    """

    name: ClassVar[str] = "uniform-frames"
    title: ClassVar[str] = "Uniform frames"
    summary: ClassVar[str] = "evenly spaced whole frames (a control)"

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of the frames kept of `features[F, N, D]`."""
        frames, per_frame = features.shape[:2]
        whole, left = divmod(self.kept_tokens(frames, per_frame), per_frame)
        starts = evenly(whole + (left > 0), frames) * per_frame
        tokens = (starts[:whole, None] + torch.arange(per_frame)).flatten()
        part = starts[whole:] + spread(left, per_frame)
        return torch.cat([tokens, part]).to(features.device)

"""FrameFusion: tokens like those of the frame before are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.method import Selection, SelectionInputs, top
from dycoke_cli.compression.similar import similarity_to_frame_before, wide
from dycoke_cli.lazy_torch import torch


@dataclass(frozen=True)
class FrameFusion(Budgeted):
    """FrameFusion (ICCV 2025), section 4: its merging by similarity.

    Each token is compared with the token at the same position in the frame before (cosine). Of the
    whole video, the most similar ones are merged, as many as the budget asks for: a token and those
    behind it that are merged, without a gap, become their mean, at the place of the first. The
    first frame isn't compared, so that at least N tokens stay. Ties go to the lower index.

    Differs from the authors' code (`framefusion/main.py`) in how much is merged. Theirs merges what
    is at least .6 similar, before the first layer and again inside each of the next layers, until
    one merges less than 10 %; then one selection by attention brings the mean over all layers to
    `cost`. If at least the share 1 - `cost` of the tokens is that similar, all of this is one
    merging before the first layer, which is what R = `cost` is here. If it isn't, theirs merges
    less before the first layer and drops by attention in an early one, which isn't here. The number
    of tokens is exact here, and nothing is merged inside the language model.
    """

    name: ClassVar[str] = "framefusion"
    title: ClassVar[str] = "FrameFusion"
    summary: ClassVar[str] = "merges what is like the frame before"
    paper: ClassVar[str | None] = "ICCV 2025"

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens that are merged into no earlier one, each the mean of its run."""
        frames, per_frame = inputs.features.shape[:2]
        similarity = similarity_to_frame_before(inputs.features).flatten()
        merges = torch.zeros(frames * per_frame, dtype=torch.bool, device=similarity.device)
        goes = len(merges) - self.kept_tokens(frames, per_frame)
        merges[per_frame + top(similarity, goes)] = True
        kept = (~merges).nonzero().flatten()
        sums, sizes = wide(inputs.features).clone(), torch.ones_like(merges, dtype=torch.int64)
        into = torch.arange(len(merges), device=merges.device).view(frames, per_frame)
        sizes, merges = sizes.view(frames, per_frame), merges.view(frames, per_frame)
        for frame in range(frames - 1, 0, -1):
            sums[frame - 1] += sums[frame] * merges[frame, :, None]
            sizes[frame - 1] += sizes[frame] * merges[frame]
        for frame in range(1, frames):
            into[frame] = torch.where(merges[frame], into[frame - 1], into[frame])
        merged = sums.flatten(0, 1)[kept] / sizes.flatten()[kept, None]
        return Selection(kept, merged, into.flatten())

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly, and no less than the first frame."""
        return max(per_frame, super().kept_tokens(frames, per_frame))

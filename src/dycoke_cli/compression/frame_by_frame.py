"""Methods that select and merge in each frame alone, by the vision encoder's attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import FrameBudgeted
from dycoke_cli.compression.method import (
    Need,
    Selection,
    SelectionInputs,
    counted_on,
    into_itself,
)
from dycoke_cli.compression.similarity import wide
from dycoke_cli.lazy_torch import torch


@dataclass(frozen=True)
class FrameByFrame(FrameBudgeted):
    """Each frame keeps its share of the budget."""

    needs: ClassVar[tuple[Need, ...]] = ("attention",)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """What `reduced` keeps of each frame."""
        assert inputs.attention is not None, "named in needs"
        assert inputs.keys is not None, "named in needs"
        per_frame = inputs.features.shape[1]
        kept, merged, into = [], [], []
        for frame, count in enumerate(self.tokens_of_frames(inputs)):
            tokens = wide(inputs.features[frame])
            of_frame = self.reduced(tokens, inputs.attention[frame], inputs.keys[frame], count)
            first = frame * per_frame
            kept.append(first + of_frame.kept)
            at = into_itself(of_frame.kept, per_frame) if of_frame.into is None else of_frame.into
            into.append(counted_on(at, first))
            merged.append(tokens[of_frame.kept] if of_frame.features is None else of_frame.features)
        return Selection(torch.cat(kept), torch.cat(merged), torch.cat(into))

    def reduced(
        self, tokens: torch.Tensor, attention: torch.Tensor, keys: torch.Tensor, count: int
    ) -> Selection:
        """The tokens kept of one frame, ascending.

        Args:
            tokens: `[N, D]`, in the widest dtype.
            attention: `[N]`, float32.
            keys: `[N, K]`, float32.
            count: how many, 0 … N.
        """
        raise NotImplementedError

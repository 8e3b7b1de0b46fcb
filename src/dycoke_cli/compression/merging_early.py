"""Merging inside the vision tower, for methods that select after it among all tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.coverage import merged, similarities
from dycoke_cli.compression.method import BeforeVision, Selection, SelectionInputs, without_lowest
from dycoke_cli.compression.similar import similarity_to_frame_before
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param

MERGE_RATIO, WINDOW = 0.7, 8
"""The share of all but the first frame's tokens that is merged, and frames: of a whole window the
tower encodes 39 %."""

MERGE_STAGE = Param(
    "Where tokens are dropped: before the language model (llm), or partly in the vision tower "
    "(vision; faster, a little less accurate). In the tower dycoke drops all of its tokens, "
    "a method with a budget about six in ten."
)
MergeStage = Literal["llm", "vision"]

MERGE_DROPPED = Param(
    "Merge each dropped token into the kept one that represents it, as dycoke-plus does.",
    before=False,
)


def merged_early() -> BeforeVision:
    """The tokens that changed least since the frame before are merged into those of that frame.

    Of each window the first frame stays whole. The others are ranked together, so that a frame in
    which much is new keeps more than one that is like the last.
    """
    return BeforeVision(("changed", MERGE_RATIO, WINDOW), WINDOW, keep_changed, _frames_before)


def keep_changed(features: torch.Tensor) -> torch.Tensor:
    """The tokens that stay; of equally similar ones those that come first.

    Args:
        features: `[F, N, D]`, float; the last window may be shorter than the others.

    Returns:
        `[M]`, int64: flat indices `frame*N + position`, ascending.
    """
    per_frame, kept = features.shape[1], []
    for begin, window in zip(range(0, len(features), WINDOW), features.split(WINDOW), strict=True):
        similarity = similarity_to_frame_before(window).flatten()
        first = torch.arange(per_frame, device=features.device)
        changed = per_frame + without_lowest(-similarity, MERGE_RATIO)
        kept.append(begin * per_frame + torch.cat([first, changed]))
    return torch.cat(kept)


def _frames_before(frames: int) -> list[int | None]:
    return [frame - 1 if frame % WINDOW else None for frame in range(frames)]


@dataclass(frozen=True)
class MergingEarly(Budgeted):
    """Methods that need no more of the vision tower than its output.

    With `merge_dropped` the tokens that a method drops are merged into those that it keeps, by
    similarity and time as in `compression/coverage.py`; no author's code does it.

    With `merge_stage="vision"` tokens are merged inside the tower, the same for every method and
    budget. Behind it they are unmerged: each has the embedding of the token that it was merged
    into, and the method chooses among all of them as it does without.
    """

    merge_stage: Annotated[MergeStage, MERGE_STAGE] = "llm"
    merge_dropped: Annotated[bool, MERGE_DROPPED] = False

    def finish(self, inputs: SelectionInputs, selection: Selection) -> Selection:
        """The tokens chosen, with the others merged into them where that is asked for."""
        tokens = inputs.features.flatten(0, 1)
        is_done = len(selection.kept) == len(tokens) or selection.features is not None
        if is_done or not self.merge_dropped:
            return selection
        return merged(tokens, similarities(inputs.features), selection.kept.sort().values)

    def before_vision(self) -> BeforeVision | None:
        """What is merged there, or None where the tower encodes every token."""
        return merged_early() if self.merge_stage == "vision" else None

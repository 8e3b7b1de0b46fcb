"""Merging inside the vision tower, for DyCoke and for methods that choose behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from dycoke_cli.compression import ttm
from dycoke_cli.compression.base import BeforeVision
from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch

EARLY_RATIO, EARLY_WINDOW = 0.6, 4
"""TTM's K and window where a method chooses behind it: the tower encodes 55 % of the tokens."""

MERGE_STAGE = Param(
    "Where tokens are dropped: before the language model (llm), or some of them early in the "
    "vision tower (vision), by TTM: all that dycoke drops, or about half for a method with a "
    "budget. Faster, and a little less accurate."
)
MergeStage = Literal["llm", "vision"]


def merged_early(merge_ratio: float, window: int) -> BeforeVision:
    """TTM in the paper variant, inside the vision tower.

    Args:
        merge_ratio: K.
        window: frames.
    """

    def keep(features: torch.Tensor) -> torch.Tensor:
        return ttm.keep_indices(features, merge_ratio, window)

    def references(frames: int) -> list[int | None]:
        return [other for _, other in ttm.comparisons(frames, window, "paper")]

    return BeforeVision((merge_ratio, window), window, keep, references)


@dataclass(frozen=True)
class MergingEarly(Budgeted):
    """What methods have in common that need no more of the vision tower than its output.

    With `merge_stage="vision"` TTM merges tokens inside the tower, the same for every method and
    budget. Behind it they are unmerged: each has the embedding of the token that it was merged
    into, and the method chooses among all of them as it does without.
    """

    merge_stage: Annotated[MergeStage, MERGE_STAGE] = "llm"

    def before_vision(self) -> BeforeVision | None:
        """TTM of about half, or None where the tower encodes every token."""
        return merged_early(EARLY_RATIO, EARLY_WINDOW) if self.merge_stage == "vision" else None

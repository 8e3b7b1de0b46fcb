"""DyCoke-plus: the tokens that cover a video before the language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from dycoke_cli.compression import ttm
from dycoke_cli.compression.base import BeforeVision
from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.coverage import cover, cover_and_merge
from dycoke_cli.compression.selection import Given, Selection
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch

EARLY_RATIO, EARLY_WINDOW = 0.6, 4
"""The TTM that comes first where merging begins in the vision tower: a bit more than half stays."""


@dataclass(frozen=True)
class DyCokePlus(Budgeted):
    """Goes below what DyCoke can keep, without training.

    Raises:
        UsageError: (a ValueError) a parameter out of range, or a combination without meaning.
    """

    name: ClassVar[str] = "dycoke-plus"
    title: ClassVar[str] = "DyCoke-plus"
    summary: ClassVar[str] = "the tokens that cover a video best"

    window: Annotated[
        int, Param("Frames per window, in which tokens can stand for each other.", at_least=1)
    ] = 8
    merge_dropped: Annotated[
        bool, Param("Merge each dropped token into the kept one that stands for it.")
    ] = False
    merge_stage: Annotated[
        Literal["llm", "vision"],
        Param(
            "Where tokens are dropped: before the language model (llm), or half of them early in "
            "the vision tower and the others behind it (vision)."
        ),
    ] = "llm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.merge_stage == "vision" and self.retain > 0.5:
            raise UsageError(
                "merge_stage vision drops half of the tokens early: retain must be at most half"
            )

    def choose(self, given: Given) -> Selection:
        """The tokens that cover those given best."""
        import torch

        frames, per_frame = given.features.shape[:2]
        tokens = given.features.flatten(0, 1)
        frame = torch.arange(frames, device=tokens.device).repeat_interleave(per_frame)
        encoded = given.encoded
        if encoded is not None:
            encoded = encoded.to(tokens.device)
            tokens, frame = tokens[encoded], frame[encoded]
        count = self.kept_tokens(frames, per_frame)
        merged = None
        if self.merge_dropped:
            kept, merged = cover_and_merge(tokens, frame, count, self.window)
        else:
            kept = cover(tokens, frame, count, self.window)
        return Selection(kept if encoded is None else encoded[kept], merged)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly, of what is encoded."""
        whole = super().kept_tokens(frames, per_frame)
        if self.merge_stage == "llm":
            return whole
        return min(whole, ttm.kept_tokens(frames, per_frame, EARLY_RATIO, EARLY_WINDOW))

    def before_vision(self) -> BeforeVision | None:
        """TTM of about half, or None where nothing is dropped in the vision tower."""
        if self.merge_stage == "llm":
            return None

        def keep(features: torch.Tensor) -> torch.Tensor:
            return ttm.keep_indices(features, EARLY_RATIO, EARLY_WINDOW)

        def references(frames: int) -> list[int | None]:
            return [other for _, other in ttm.comparisons(frames, EARLY_WINDOW, "paper")]

        return BeforeVision((EARLY_RATIO, EARLY_WINDOW), EARLY_WINDOW, keep, references)

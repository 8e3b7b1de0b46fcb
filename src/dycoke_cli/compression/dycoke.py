"""DyCoke: temporal token merging before the language model, dynamic KV pruning in decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from dycoke_cli.compression import ttm
from dycoke_cli.compression.base import BeforeVision, Method, Pruning
from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.ranges import check_at_least, check_choice, check_share
from dycoke_cli.errors import UsageError

PAYS_FROM = 2960
"""Visual tokens of the shortest prompt at which stage 2 was measured to be faster than without.

Of half as many the gain is no more than noise (docs/speed.md)."""


@dataclass(frozen=True)
class DyCoke(Method):
    """DyCoke (arXiv 2411.15024, CVPR 2025): training-free, two stages that work alone as well.

    Args:
        ttm: stage 1 on.
        merge_ratio: K in [0, 1), the share of a compared frame that is dropped.
        window: frames a window of stage 1, 2 or more.
        kv_prune: stage 2 on.
        prune_ratio: P in [0, 1), the share of visual tokens that a decoding step leaves out.
        prune_layer: L, the first layer (0-based) that attends to the active tokens only;
            layer L-1 scores them. None is the model's default: the paper's 3, unless its
            checkpoint names another.
        recall: False keeps the first choice for good.
        recall_threshold: renew the choice below this cosine similarity of attention.
        variant: "paper", or "published" with the quirks of the published code.
        positions: of kept tokens, "renumbered" without gaps or "kept" as they were. None is the
            default of the model's family (`models.families.method_defaults`).
        dp_cache: where the tokens that wait are: on the "device"; on the "host", which frees the
            memory of an accelerator; or "discard" them.
        prune_from: stage 2 is for prompts with so many visual tokens left of stage 1 or more: in
            shorter ones, choosing may cost more than it saves.
        merge_stage: stage 1 chooses behind the vision tower ("llm"), or early in it ("vision"):
            then what is dropped isn't encoded, and the choice is a little worse.

    Raises:
        UsageError: (a ValueError) a parameter out of range, or a combination without meaning.
    """

    name: ClassVar[str] = "dycoke"

    ttm: bool = True
    merge_ratio: float = 0.7
    window: int = 4
    kv_prune: bool = True
    prune_ratio: float = 0.7
    prune_layer: int | None = None
    recall: bool = True
    recall_threshold: float = 0.9
    variant: str = "paper"
    positions: str | None = None
    dp_cache: str = "device"
    merge_stage: str = "llm"
    prune_from: int = 0

    def __post_init__(self) -> None:
        check_share("merge_ratio", self.merge_ratio)
        check_share("prune_ratio", self.prune_ratio)
        check_at_least("window", self.window, 2)
        if self.prune_layer is not None:
            check_at_least("prune_layer", self.prune_layer, 1)
        check_at_least("recall_threshold", self.recall_threshold, 0)
        check_at_least("prune_from", self.prune_from, 0)
        check_choice("variant", self.variant, ("paper", "published"))
        if self.positions is not None:
            check_choice("positions", self.positions, ("kept", "renumbered"))
        check_choice("dp_cache", self.dp_cache, ("device", "host", "discard"))
        check_choice("merge_stage", self.merge_stage, ("llm", "vision"))
        if self.merge_stage == "vision" and not (self.ttm and self.variant == "paper"):
            raise UsageError("merge_stage vision needs ttm, in the paper variant")
        if self.prune_from and self.dp_cache != "device":
            raise UsageError(
                f"prune_from is for speed, and dp_cache {self.dp_cache} for memory; drop one"
            )
        if self.dp_cache == "discard" and self.recall:
            raise UsageError(
                "dp_cache discard leaves nothing to recall; use it together with no recall"
            )
        if self.dp_cache == "host" and not self.recall:
            raise UsageError(
                "dp_cache host keeps pruned tokens for a recall; without recall, use discard"
            )
        if self.dp_cache == "host" and self.variant == "published":
            raise UsageError(
                "dp_cache host isn't for the published variant, most of whose steps read every "
                "token; use device"
            )
        if self.variant == "published" and self.ttm and self.window != ttm.PUBLISHED_WINDOW:
            raise UsageError(
                f"the published variant has a window of {ttm.PUBLISHED_WINDOW}, not {self.window}"
            )
        if self.variant == "published" and self.positions == "kept":
            raise UsageError("the published variant always renumbers positions; kept is for paper")
        if self.variant == "published":
            object.__setattr__(self, "positions", "renumbered")

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """The tokens that stage 1 keeps of `features[F, N, D]`: flat indices `[M]`, int64."""
        if not self.ttm:
            return super().select(features)
        return ttm.keep_indices(features, self.merge_ratio, self.window, self.variant)

    def before_vision(self) -> BeforeVision | None:
        """Stage 1 inside the vision tower, or None where it comes behind."""
        if self.merge_stage == "llm":
            return None

        def references(frames: int) -> list[int | None]:
            return [other for _, other in ttm.comparisons(frames, self.window, self.variant)]

        parameters = (self.merge_ratio, self.window)
        return BeforeVision(parameters, self.window, self.select, references)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """How many tokens stage 1 keeps."""
        if not self.ttm:
            return super().kept_tokens(frames, per_frame)
        return ttm.kept_tokens(frames, per_frame, self.merge_ratio, self.window, self.variant)

    def renumbers(self) -> bool:
        """Whether kept tokens close the gaps in their positions."""
        assert self.positions is not None, "suited to a model first"
        return self.positions == "renumbered"

    def pruning(self) -> Pruning | None:
        """Fresh state of stage 2 for one sequence, or None where it is off."""
        if not self.kv_prune:
            return None
        selector = VisualSelector(
            self.prune_ratio, self.recall_threshold, self.recall, self.variant
        )
        assert self.prune_layer is not None, "suited to a model first"
        return Pruning(self.prune_layer, selector, self.dp_cache, self.prune_from)

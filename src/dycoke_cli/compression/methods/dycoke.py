"""DyCoke: temporal token merging before the language model, dynamic KV pruning in decode.

Differs from the authors' code (github.com/KD-TAO/DyCoke, commit dd74634), to which
`variant="published"` keeps, in stage 1: there, the last window of a multiple of 4 frames has no
comparison with its first frame, so that 32 frames of 196 tokens keep 3,098 in place of 2,960 at
K = .7; an odd last frame is dropped whole; 4 frames or fewer fail; tokens of a compared frame
stand in the order of their similarity, and positions are renumbered. In stage 2: attention is
compared with that of the step before, and where it is alike, the step attends to all tokens;
the last visual token is never pruned. What neither variant has: entries that are gathered in
each layer at each step and never freed, attention weights of every layer, batches of one alone,
and state that goes from one video into the next. Before commit 35cc532 that code chose the
tokens of an odd frame by the similarities of another pair of frames; it isn't reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

from dycoke_cli.compression import ttm
from dycoke_cli.compression.budget import MERGE_STAGE, MergeStage, Positions
from dycoke_cli.compression.kv_pruning import KV_PRUNE, PRUNE_LAYER, PRUNE_RATIO, VisualSelector
from dycoke_cli.compression.method import (
    Ablation,
    BeforeVision,
    Method,
    Pruning,
    Selection,
    SelectionInputs,
    settled_value,
    tokens_left,
)
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param

FIRST_STAGE = frozenset(("merge_ratio", "window", "merge_stage", "positions"))
"""Parameters that leave it open whether the KV cache is pruned (docs/methods.md)."""


@dataclass(frozen=True)
class DyCoke(Method):
    """DyCoke (arXiv 2411.15024, CVPR 2025): training-free, two stages that work alone as well.

    Stage 1 drops visual tokens before the language model, stage 2 evicts visual tokens from the
    attention of each decoding step. Here both are on; commands run stage 1 alone unless a flag asks
    for stage 2 (`kv_prune`).

    docs/methods.md says what differs from the authors' code; `variant="published"` keeps to that.
    """

    name: ClassVar[str] = "dycoke"
    title: ClassVar[str] = "DyCoke"
    summary: ClassVar[str] = "merges tokens over time, prunes the KV cache"
    paper: ClassVar[str | None] = "arXiv 2411.15024, CVPR 2025"
    windowed: ClassVar[bool] = True
    ablations: ClassVar[Mapping[str, Ablation]] = {
        "ttm": Ablation("stage 1 alone", {"kv_prune": False}),
        "kv": Ablation("stage 2 alone", {"ttm": False}),
        "dycoke-once": Ablation("no recall", {"recall": False}),
    }

    ttm: Annotated[
        bool,
        Param(
            "Stage 1, temporal token merging (TTM): before the language model, drop tokens that "
            "repeat an earlier frame.",
        ),
    ] = True
    merge_ratio: Annotated[
        float,
        Param(
            "Fraction of a compared frame's tokens that TTM drops.",
            symbol="K",
            at_least=0,
            below=1,
            switch="ttm",
            budget=True,
        ),
    ] = 0.7
    window: Annotated[
        int,
        Param(
            "Frames per window of TTM; the first of each is kept whole.", at_least=2, switch="ttm"
        ),
    ] = 4
    kv_prune: Annotated[bool, KV_PRUNE] = True
    prune_ratio: Annotated[float, PRUNE_RATIO] = 0.7
    prune_layer: Annotated[int | None, PRUNE_LAYER] = None
    recall: Annotated[
        bool,
        Param(
            "Recall evicted tokens when the attention changes; otherwise the first selection "
            "stays.",
            switch="kv_prune",
        ),
    ] = True
    recall_threshold: Annotated[
        float,
        Param(
            "Reselect when the cosine similarity to the attention of the last selection falls "
            "below this; 1 reselects at every step.",
            at_least=0,
            switch="recall",
        ),
    ] = 0.9
    variant: Annotated[
        Literal["paper", "published"],
        Param("paper, or published (with the quirks of the authors' code, commit dd74634)."),
    ] = "paper"
    positions: Positions = None
    merge_stage: Annotated[MergeStage, replace(MERGE_STAGE, switch="ttm")] = "llm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.merge_stage == "vision" and self.merged_early() is None:
            raise UsageError("merge_stage vision needs ttm, in the paper variant")
        if self.variant == "published" and self.ttm and self.window != ttm.PUBLISHED_WINDOW:
            raise UsageError(
                f"the published variant has a window of {ttm.PUBLISHED_WINDOW}, not {self.window}"
            )
        if self.variant == "published" and self.positions == "kept":
            raise UsageError("the published variant always renumbers positions; kept is for paper")
        if self.variant == "published":
            object.__setattr__(self, "positions", "renumbered")

    def before_vision(self) -> BeforeVision | None:
        """Stage 1 inside the vision tower, or None where it comes behind."""
        return self.merged_early() if self.merge_stage == "vision" else None

    def merged_early(self) -> BeforeVision | None:
        """What `merge_stage` vision merges inside the tower: TTM's choice; None without TTM."""
        if not self.ttm or self.variant != "paper":
            return None
        keep = partial(ttm.keep_indices, merge_ratio=self.merge_ratio, window=self.window)

        def references(frames: int) -> list[int | None]:
            return [other for _, other in ttm.comparisons(frames, self.window, "paper")]

        return BeforeVision(("ttm", self.merge_ratio, self.window), self.window, keep, references)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """What stage 1 keeps: the tokens that were encoded, if it was inside the vision tower."""
        if not self.ttm:
            return super().choose(inputs)
        kept, features = inputs.encoded, inputs.features
        if kept is None:
            kept = ttm.keep_indices(features, self.merge_ratio, self.window, self.variant)
        frames, per_frame = features.shape[:2]
        into = ttm.merged_into(kept, frames, per_frame, self.window, self.variant)
        return Selection(kept, into=into)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """How many tokens stage 1 keeps."""
        if not self.ttm:
            return super().kept_tokens(frames, per_frame)
        return ttm.kept_tokens(frames, per_frame, self.merge_ratio, self.window, self.variant)

    def attended_tokens(self, kept: int) -> int:
        """What a selection of stage 2 leaves active."""
        if not self.kv_prune:
            return kept
        if self.variant == "published":  # which never prunes the last one
            return tokens_left(kept - 1, self.prune_ratio) + 1
        return tokens_left(kept, self.prune_ratio)

    def renumbers(self) -> bool:
        """Whether kept tokens close the gaps in their positions."""
        return settled_value(self.positions) == "renumbered"

    def pruning(self) -> Pruning | None:
        """Fresh state of stage 2 for one sequence, or None where it is off."""
        if not self.kv_prune:
            return None
        selector = VisualSelector(
            self.prune_ratio, self.recall_threshold, self.recall, self.variant
        )
        return Pruning(settled_value(self.prune_layer), selector)

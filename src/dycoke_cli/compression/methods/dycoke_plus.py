"""DyCoke-plus: coverage before the language model, and in decode a selection per layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from dycoke_cli.compression.base import Ablation, Pruning, bound_value, tokens_left
from dycoke_cli.compression.coverage import WINDOW, cover, cover_and_merge, frame_of_each
from dycoke_cli.compression.key_index import KeySelector
from dycoke_cli.compression.kv_pruning import (
    DP_CACHE,
    KV_PRUNE,
    PRUNE_FROM,
    PRUNE_LAYER,
    PRUNE_RATIO,
    VisualSelector,
)
from dycoke_cli.compression.merging_early import MergingEarly
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.selection import Selection, SelectionInputs
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param, parameters_of

PAYS_FROM = 6272
"""Visual tokens from which stage 2 was measured to be faster than without, with the small heads of
a 0.5B model; with those of a 7B model it is from 1,500 on (docs/speed.md)."""

USUAL_RATIO = 0.85
"""P of stage 2, where it is on."""


@dataclass(frozen=True)
class DyCokePlus(MergingEarly):
    """DyCoke with another rule in each stage, for smaller budgets; unpublished.

    Stage 1 keeps the tokens that best represent all of them, and merges the others into them
    (`compression/coverage.py`), where DyCoke keeps every fourth frame whole. In stage 2 every layer
    ranks the visual tokens by its own query and a low-rank index of its own keys
    (`compression/key_index.py`, after Loki, arXiv 2406.02542), from the first layer on, where
    DyCoke scores tokens at one layer for all behind it (`scorer="layer"`). There is no threshold,
    and nothing is moved: a step copies the entries that it selects. Stage 2 is off unless
    `kv_prune` or a parameter of it is given, and for very long contexts: with fewer visual tokens
    than `prune_from`, decode attends to all that stage 1 kept.

    Raises:
        UsageError: (a ValueError) a parameter out of range, or a combination without meaning.
    """

    name: ClassVar[str] = "dycoke-plus"
    title: ClassVar[str] = "DyCoke-plus"
    summary: ClassVar[str] = "coverage; in decode each layer for itself"
    windowed: ClassVar[bool] = True
    ablations: ClassVar[Mapping[str, Ablation]] = {
        "coverage": Ablation("stage 1 alone", {"kv_prune": False}),
        "kv-own": Ablation("stage 2 alone", {"retain": 1.0, "prune_from": 0}),
    }

    window: Annotated[
        int, Param("Frames per window; kept tokens represent those of their window.", at_least=1)
    ] = WINDOW
    merge_dropped: Annotated[
        bool, Param("Merge each dropped token into the kept one that represents it.")
    ] = True
    kv_prune: Annotated[
        bool | None,
        replace(KV_PRUNE, default="off, unless another parameter of stage 2 isn't as by default"),
    ] = None
    prune_ratio: Annotated[float | None, replace(PRUNE_RATIO, default=f"{USUAL_RATIO}")] = None
    scorer: Annotated[
        Literal["own", "layer"],
        Param(
            "What a decoding step selects by: own (each layer scores the tokens for itself, by a "
            "low-rank index of its keys) or layer (one layer for all behind it, as dycoke).",
            switch="kv_prune",
        ),
    ] = "own"
    per_head: Annotated[
        bool,
        Param(
            "Each KV head selects for itself; otherwise all heads of a layer share a selection. "
            "For the scorer own.",
            switch="kv_prune",
        ),
    ] = False
    prune_layer: Annotated[
        int | None,
        replace(
            PRUNE_LAYER,
            help="First pruned layer.",
            at_least=0,
            default="0, or with the scorer layer that of dycoke",
        ),
    ] = None
    dp_cache: Annotated[
        Literal["device", "host", "discard"],
        replace(
            DP_CACHE,
            help="Where evicted tokens are stored: device; host (main memory, which frees that of "
            "a GPU); discard (nowhere; for the scorer layer, without recall).",
        ),
    ] = "device"
    prune_from: Annotated[
        int | None,
        replace(PRUNE_FROM, default="auto; 0 (always) unless dp_cache is device"),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kv_prune is None:
            object.__setattr__(self, "kv_prune", self._names_second_stage())
        if self.prune_ratio is None:
            object.__setattr__(self, "prune_ratio", USUAL_RATIO)
        if self.scorer == "own" and self.prune_layer is None:
            object.__setattr__(self, "prune_layer", 0)
        if self.scorer == "layer" and self.prune_layer == 0:
            raise UsageError(
                "prune_layer must be 1 or more with the scorer layer, for the layer before it "
                "scores the tokens; 0 is for the scorer own"
            )
        if self.scorer == "layer" and self.per_head:
            raise UsageError("per_head is for the scorer own; drop it, or the scorer layer")
        if self.scorer == "own" and self.dp_cache == "discard":
            raise UsageError(
                "dp_cache discard is for the scorer layer: with own, each step may select any "
                "token; use device or host"
            )
        if self.scorer == "layer" and self.kv_prune and self.proportional:
            raise UsageError("proportional is for the scorer own; drop it, or the scorer layer")
        if self.prune_from is None and self.dp_cache != "device":
            object.__setattr__(self, "prune_from", 0)
        if self.prune_from and self.dp_cache != "device":
            raise UsageError(
                f"prune_from is for speed, and dp_cache {self.dp_cache} for memory; drop one"
            )

    def _names_second_stage(self) -> bool:
        """Whether a parameter of stage 2 isn't what it is where none is given."""
        usual = {name: p.default for name, p in parameters_of(type(self)).items()}
        return any(
            getattr(self, name) != usual[name]
            for name, parameter in parameters_of(type(self)).items()
            if parameter.spec.switch == "kv_prune"
        )

    def has_effect(self, switch: str, kept: int) -> bool:
        """Whether decode is pruned: that needs enough visual tokens, too."""
        return super().has_effect(switch, kept) and kept >= self._least

    @property
    def _least(self) -> int:
        return PAYS_FROM if self.prune_from is None else self.prune_from

    def attended_tokens(self, kept: int) -> int:
        """What a decoding step attends to."""
        pruned = self.has_effect("kv_prune", kept)
        return tokens_left(kept, bound_value(self.prune_ratio)) if pruned else kept

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens with the best coverage."""
        tokens, frame = inputs.features.flatten(0, 1), frame_of_each(inputs.features)
        count = self.kept_tokens(*inputs.features.shape[:2])
        if count == len(tokens):  # stage 2 alone
            return super().choose(inputs)
        if self.merge_dropped:
            return cover_and_merge(tokens, frame, count, self.window)
        return Selection(cover(tokens, frame, count, self.window))

    def pruning(self) -> Pruning | None:
        """Fresh decode pruning for one sequence, or None where it is off."""
        if not self.kv_prune:
            return None
        layer = bound_value(self.prune_layer)
        if self.scorer == "own":
            of_each_layer = KeySelector(self.per_head)
            return Pruning(layer, None, self.dp_cache, self._least, of_each_layer)
        recall = self.dp_cache != "discard"
        selector = VisualSelector(bound_value(self.prune_ratio), DyCoke.recall_threshold, recall)
        return Pruning(layer, selector, self.dp_cache, self._least)

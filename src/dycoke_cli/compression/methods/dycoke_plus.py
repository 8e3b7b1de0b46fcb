"""DyCoke-plus: coverage before the language model, for smaller budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import MergingEarly
from dycoke_cli.compression.coverage import WINDOW, merged, most_covering, similarities
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.param import Param


@dataclass(frozen=True)
class DyCokePlus(MergingEarly):
    """DyCoke with another rule in stage 1, and without stage 2; unpublished.

    It keeps the tokens that best represent all of them, and merges the others into them
    (`compression/coverage.py`), where DyCoke keeps every fourth frame whole.
    """

    name: ClassVar[str] = "dycoke-plus"
    title: ClassVar[str] = "DyCoke-plus"
    summary: ClassVar[str] = "the tokens that represent all others best"
    windowed: ClassVar[bool] = True

    window: Annotated[
        int, Param("Frames per window; kept tokens represent those of their window.", at_least=1)
    ] = WINDOW
    merge_dropped: Annotated[
        bool, Param("Merge each dropped token into the kept one that represents it.")
    ] = True

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens with the best coverage."""
        features, count = inputs.features, self.kept_tokens(*inputs.features.shape[:2])
        tokens = features.flatten(0, 1)
        if count == len(tokens):
            return super().choose(inputs)
        alike = similarities(features, self.window)
        kept = most_covering(alike, count).sort().values.to(tokens.device)
        return merged(tokens, alike, kept) if self.merge_dropped else Selection(kept)

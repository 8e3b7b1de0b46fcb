"""The rules that keep a number of a long video's tokens, and which tokens show its needle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

import torch

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.coverage import WINDOW, cover_and_merge, frame_of_each
from dycoke_cli.compression.methods.evs import EVS
from dycoke_cli.compression.selection import Selection, SelectionInputs
from dycoke_cli.shapes.elements import CARD
from dycoke_cli.shapes.motion import at
from dycoke_cli.shapes.script import Script

TOKENS = 512
"""That the language model reads of each video: 32 frames of the bundled model."""
WINDOWS = 32
"""Windows of a video in which coverage compares tokens; each is as long as the time between two of
as many uniform frames."""
SHOWS = 0.25
"""Share of a token's square that the card covers, from which on the token shows the card."""


@dataclass(frozen=True)
class Chosen(Budgeted):
    """Tokens that were selected before, whatever the video.

    Attributes:
        rule: that selected them, by which a session tells one such method from another.
        selection: of these tokens.
    """

    name: ClassVar[str] = "chosen"
    rule: str = field(kw_only=True)
    selection: Selection = field(kw_only=True, compare=False)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The number of tokens."""
        return len(self.selection.kept)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens themselves."""
        return self.selection


Rule = Callable[[torch.Tensor, int], Selection]
"""Selects a number of tokens of `features[F, N, D]`."""


def uniform(features: torch.Tensor, count: int) -> Selection:
    """Whole frames, the nearest to evenly spaced times, of two the earlier: as `--frames` does."""
    frames, per_frame = features.shape[:2]
    shown = count // per_frame
    times = torch.arange(shown, dtype=torch.float64) * (frames - 1) / (shown - 1)
    return _whole((times - 0.5).ceil().long(), per_frame)


def recent(features: torch.Tensor, count: int) -> Selection:
    """The last frames."""
    frames, per_frame = features.shape[:2]
    return _whole(torch.arange(frames - count // per_frame, frames), per_frame)


def _whole(frames: torch.Tensor, per_frame: int) -> Selection:
    return Selection((frames[:, None] * per_frame + torch.arange(per_frame)).flatten())


def at_random(features: torch.Tensor, count: int) -> Selection:
    """Single tokens, drawn."""
    drawn = torch.randperm(features.shape[:2].numel(), generator=torch.Generator().manual_seed(0))
    return Selection(drawn[:count].sort().values)


def evs(features: torch.Tensor, count: int) -> Selection:
    """The tokens that changed most since the frame before."""
    # Half a token more, so that rounding down gives the number itself.
    retain = min(1.0, (count + 0.5) / features.shape[:2].numel())
    return Selection(EVS(retain=retain).select(features))


def coverage(features: torch.Tensor, count: int, window: int | None = None) -> Selection:
    """Coverage, with the others merged, in windows of so many frames, or of a 32nd of the video."""
    frames = window or max(1, len(features) // WINDOWS)
    return cover_and_merge(features.flatten(0, 1), frame_of_each(features), count, frames)


RULES: dict[str, Rule] = {
    "uniform": uniform,
    "recent": recent,
    "random": at_random,
    "evs": evs,
    "coverage, 8 frames": partial(coverage, window=WINDOW),
    "coverage, 1/32": coverage,
}
SAMPLED = ("uniform", "recent")
"""Rules whose frames the language model reads as a clip of their own."""
Positions = Literal["kept", "renumbered"]
ASKED: dict[str, tuple[str, Positions]] = {
    "uniform": ("uniform", "kept"),
    "recent": ("recent", "kept"),
    "random": ("random", "kept"),
    "coverage": ("coverage, 1/32", "kept"),
    "coverage, contiguous": ("coverage, 1/32", "renumbered"),
}
"""Rows of answers: a rule, and the positions of its tokens."""


def shows_card(script: Script, frames: int, side: int) -> torch.Tensor:
    """Which tokens show the card, of evenly spaced frames of side x side tokens.

    Returns:
        [frames, side * side], bool.
    """
    (card,) = (event for event in script.events if event.deed == "show")
    assert card.cell is not None, "a card has a place"
    edges = torch.arange(side) / side
    column, row = (
        ((edges + 1 / side).clamp_max(middle + CARD / 2) - edges.clamp_min(middle - CARD / 2))
        for middle in at(card.cell, (0, 0)).tolist()
    )
    covered = row.clamp_min(0)[:, None] * column.clamp_min(0) * side**2
    times = torch.arange(frames, dtype=torch.float64) / frames
    during = (times >= card.begin) & (times < card.finish)
    return during[:, None] & (covered.flatten() >= SHOWS)

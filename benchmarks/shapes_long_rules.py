"""The rules that keep a number of a long video's tokens, and which tokens show its needle."""

from __future__ import annotations

from dataclasses import dataclass
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
class AtMost(Budgeted):
    """A number of tokens, whatever the length of the video.

    Attributes:
        tokens: at most so many.
        rule: random; evs; or coverage, in windows of eight frames or of a share of the video.
    """

    name: ClassVar[str] = "at-most"
    tokens: int = TOKENS
    rule: Literal["random", "evs", "coverage of 8 frames", "coverage of 1/32"] = "random"

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The number, exactly."""
        return min(self.tokens, frames * per_frame)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """By the rule; coverage merges the tokens that it drops."""
        features = inputs.features
        frames, per_frame = features.shape[:2]
        count = self.kept_tokens(frames, per_frame)
        if self.rule == "random":
            generator = torch.Generator().manual_seed(0)
            drawn = torch.randperm(frames * per_frame, generator=generator)
            return Selection(drawn[:count].sort().values)
        if self.rule == "evs":
            # Half a token more, so that rounding down gives the number itself.
            retain = min(1.0, (count + 0.5) / (frames * per_frame))
            return Selection(EVS(retain=retain).select(features))
        window = WINDOW if self.rule == "coverage of 8 frames" else max(1, frames // WINDOWS)
        return cover_and_merge(features.flatten(0, 1), frame_of_each(features), count, window)


ROWS: dict[str, AtMost | None] = {
    "uniform": None,
    "recent": None,
    "random": AtMost(positions="kept"),
    "evs": AtMost(positions="kept", rule="evs"),
    "coverage of 8 frames": AtMost(positions="kept", rule="coverage of 8 frames"),
    "coverage of 1/32": AtMost(positions="kept", rule="coverage of 1/32"),
    "coverage of 1/32, contiguous": AtMost(positions="renumbered", rule="coverage of 1/32"),
}
"""Rows of the tables: a rule and positions, or None: whole frames, read as a clip of their own."""


def whole_frames(row: str, frames: int, shown: int) -> torch.Tensor:
    """Which of a video's frames the uniform or the recent row shows: [shown], int64.

    Args:
        row: "uniform" or "recent".
        frames: of the video.
        shown: how many are shown.
    """
    if row == "recent":
        return torch.arange(frames - shown, frames)
    # The nearest to evenly spaced times, of two the earlier: as `--frames` samples them.
    times = torch.arange(shown, dtype=torch.float64) * (frames - 1) / (shown - 1)
    return (times - 0.5).ceil().long()


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

"""Visual tokens per clip, by frame size; needs no torch.

The rules are those of the stock video processors of `transformers`; a test runs both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dycoke_cli.errors import UsageError

LONGEST_TO_SHORTEST = 200
"""Longer and narrower pictures are refused by the stock processors."""


@dataclass(frozen=True)
class ClipTokens:
    """The visual tokens of a clip, before any compression.

    Args:
        frames: as the model sees them: pairs of frames, where it merges pairs.
        per_frame: tokens of each of those.
    """

    frames: int
    per_frame: int

    @property
    def visual(self) -> int:
        """All tokens of the clip."""
        return self.frames * self.per_frame


@dataclass(frozen=True)
class KeptShape:
    """Frames are scaled until their pixels are within limits; more pixels are more tokens.

    Args:
        side: pixels of a token's square on each side.
        least: pixels that there must be.
        most: pixels that there may be.
        limits: what has those limits: each "frame"; the whole "clip"; or, for "share", each frame,
            where all frames share the upper one.
        merged: frames that become one frame of the model.
    """

    side: int
    least: int
    most: int
    limits: Literal["frame", "clip", "share"]
    merged: int

    def tokens(self, frames: int, height: int, width: int) -> ClipTokens:
        """The tokens of a clip of `frames` pictures of `height` × `width` pixels.

        Raises:
            UsageError: a picture that is too long and narrow.
        """
        # A clip of fewer frames is shown its last one again.
        frames = max(frames, self.merged)
        if self.limits == "clip" and min(height, width) < self.side:
            scale = max(self.side / height, self.side / width)
            height, width = int(height * scale), int(width * scale)
        _check_shape(height, width)
        rows, columns = self._grid(frames, height, width)
        return ClipTokens(math.ceil(frames / self.merged), rows * columns)

    def _grid(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Tokens of a frame, from top to bottom and from left to right."""
        rows, columns = round(height / self.side), round(width / self.side)
        counted, exact, most = 1, 1, self.most
        if self.limits == "clip":
            # The stock rule compares with a whole number of merged frames, and scales by all.
            counted, exact = round(frames / self.merged) * self.merged, frames
        if self.limits == "share":
            most //= frames
        pixels = counted * rows * columns * self.side**2
        if pixels > most:
            shrink = math.sqrt(exact * height * width / most)
            rows = max(1, math.floor(height / shrink / self.side))
            columns = max(1, math.floor(width / shrink / self.side))
        elif pixels < self.least:
            grow = math.sqrt(self.least / (exact * height * width))
            rows = math.ceil(height * grow / self.side)
            columns = math.ceil(width * grow / self.side)
        return rows, columns


@dataclass(frozen=True)
class FittedShape:
    """Each frame is scaled to as many tokens as its shape allows, up to a number.

    Args:
        side: pixels of a token's square on each side.
        most_tokens: of a frame.
    """

    side: int
    most_tokens: int

    def tokens(self, frames: int, height: int, width: int) -> ClipTokens:
        """The tokens of a clip of `frames` pictures of `height` × `width` pixels."""
        scale = math.sqrt(self.most_tokens * self.side**2 / (height * width))
        rows = math.floor(scale * height / self.side)
        columns = math.floor(scale * width / self.side)
        if rows == 0:
            rows, columns = 1, min(width // height, self.most_tokens)
        elif columns == 0:
            rows, columns = min(height // width, self.most_tokens), 1
        return ClipTokens(frames, rows * columns)


def _check_shape(height: int, width: int) -> None:
    if max(height, width) / min(height, width) > LONGEST_TO_SHORTEST:
        raise UsageError(
            f"a picture of {width} × {height} is too long and narrow for this model: one side may "
            f"be {LONGEST_TO_SHORTEST} times the other"
        )

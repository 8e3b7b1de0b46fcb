"""Visual tokens per clip, computed from the frame size; needs no torch.

The rules are those of the stock video processors of `transformers`; a test compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dycoke_cli.errors import UsageError

LONGEST_TO_SHORTEST = 200
"""Largest aspect ratio that the stock processors accept."""


@dataclass(frozen=True)
class ClipTokens:
    """Visual tokens of a clip, before any compression, and the text that stands between them."""

    frames: int  # number of encoded frames: pairs, where the model merges pairs
    per_frame: int  # tokens per encoded frame
    # tokens of text that the prompt has for the frames: times, separators, an introduction
    text: int = 0

    @property
    def visual(self) -> int:
        """Number of visual tokens of the clip."""
        return self.frames * self.per_frame

    def frames_in_window(self, shown: int, size: int) -> int:
        """Encoded frames of a window of `size` images, of `shown` that the clip has."""
        return max(1, min(self.frames, size * self.frames // shown))

    def of_frames(self, frames: int) -> ClipTokens:
        """The same clip with so many encoded frames, and as much of its text."""
        return ClipTokens(frames, self.per_frame, math.ceil(self.text * frames / self.frames))


@dataclass(frozen=True)
class KeptShape:
    """Dynamic resolution: frames keep their aspect ratio and are scaled to a number of pixels."""

    side: int  # pixels per side of the square that becomes one token
    least: int  # minimum number of pixels
    most: int  # maximum number of pixels
    # scope of the limits: each "frame"; the whole "clip"; or "share": each frame, with the maximum
    # divided by the number of frames
    limits: Literal["frame", "clip", "share"]
    merged: int  # input frames per encoded frame (temporal patch size)

    def tokens(self, frames: int, height: int, width: int) -> ClipTokens:
        """Tokens of a clip of `frames` images of `height` × `width` pixels."""
        # A shorter clip is padded with its last frame.
        frames = max(frames, self.merged)
        # Those processors enlarge a frame that is narrower than one token first.
        if self.limits == "clip" and min(height, width) < self.side:
            scale = max(self.side / height, self.side / width)
            height, width = int(height * scale), int(width * scale)
        _check_shape(height, width)
        rows, columns = self._grid(frames, height, width)
        return ClipTokens(math.ceil(frames / self.merged), rows * columns)

    def _grid(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens in a frame.

        The stock rule (`smart_resize`): round each side to whole tokens. If that leaves too many or
        too few pixels, scale both sides by the square root of the ratio, and round down or up.
        """
        rows, columns = round(height / self.side), round(width / self.side)
        counted, exact, most = 1, 1, self.most
        if self.limits == "clip":
            # The stock code compares a rounded number of frames with the limits, but scales by the
            # true number. Both are repeated here, because they decide about whole rows.
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
    """Frames scaled to the largest grid of their aspect ratio within a number of tokens."""

    side: int  # pixels per side of the square that becomes one token
    most_tokens: int  # maximum per frame

    def tokens(self, frames: int, height: int, width: int) -> ClipTokens:
        """Tokens of a clip of `frames` images of `height` × `width` pixels."""
        scale = math.sqrt(self.most_tokens * self.side**2 / (height * width))
        rows = math.floor(scale * height / self.side)
        columns = math.floor(scale * width / self.side)
        # A grid less than one token high or wide becomes a single row or column.
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

"""Windows of frames, handed on from the thread that decodes them to the one that encodes them.

A window is decoded while the one before it is encoded. No more than these two and one that waits
are in memory, however long the video is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.video.kept_frames import FrameResize

if TYPE_CHECKING:
    import numpy as np


WINDOW = 32
"""Frames of a window, however long the video is: as many as are sampled by default, which so are
one window; a multiple of pairs of frames, and of the windows of merging methods. Of 1,024 frames,
windows of 32 answered better than of 8; windows of 64 take 40 MB more of the bundled model."""


@dataclass(frozen=True)
class FrameWindow:
    """Consecutive frames of a video."""

    frames: np.ndarray  # `[W, h, w, 3]`, uint8, RGB
    resize: FrameResize | None  # that was applied to them; None if they are as decoded


class ClosedError(Exception):
    """Nobody takes windows any more."""


class WindowQueue:
    """A place for one window: it is put there by one thread, and taken by another.

    Attributes:
        size: frames per window; the last one may have fewer.
        began: whether a window was taken.
    """

    def __init__(self, size: int) -> None:
        self.size, self.began = size, False
        self._changed = threading.Condition()
        self._waiting: FrameWindow | None = None
        self._ended = self._closed = False

    def several(self, frames: int) -> bool:
        """Whether a video of so many frames is more than one window."""
        return frames > self.size

    def put(self, frames: np.ndarray, resize: FrameResize | None) -> None:
        """Put a window, once the one before it was taken.

        Args: as of `FrameWindow`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or self._closed)
            if self._closed:
                raise ClosedError
            self._waiting = FrameWindow(frames, resize)
            self._changed.notify_all()

    def end(self) -> None:
        """Note that no more windows come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Note that no more windows are taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[FrameWindow]:
        """Itself: a generator would hold a window until the next one is there."""
        return self

    def __next__(self) -> FrameWindow:
        """Take the next window, once it is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._ended)
            window, self._waiting = self._waiting, None
            self._changed.notify_all()
        if window is None:
            raise StopIteration
        self.began = True
        return window

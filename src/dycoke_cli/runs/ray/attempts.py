"""Counts how often each video was begun, so that one that ends its worker is tried three times.

Ray starts a dead worker again, and gives it the same videos again, without limit: the limit is
here. There is one such book a run, outside the workers; it knows nothing of Ray, and what came of a
video it keeps as bytes: to know more it would have to import torch.
"""

from __future__ import annotations

from collections.abc import Sequence


class Attempts:
    """What was begun, and what came of it where a worker has died."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}
        self._found: dict[int, bytes] = {}
        self._stopped = False

    def begin(self, videos: Sequence[int]) -> bool | None:
        """A worker is about to work on several videos.

        Args:
            videos: their numbers.

        Returns:
            whether it is the first to do so; if not, one of them may have ended the last one, and
            each is to be begun alone. None: it is to leave them, for the run ends.
        """
        if self._stopped:
            return None
        if any(video in self._begun for video in videos):
            return False
        self._begun |= dict.fromkeys(videos, 1)
        return True

    def begin_alone(self, video: int) -> int | bytes:
        """A worker is about to work on one video, and nothing else.

        Returns:
            which attempt at this video that is; or what came of it in the hands of a worker that
            died over another one.
        """
        if video in self._found:
            return self._found[video]
        self._begun[video] += 1
        return self._begun[video]

    def end_alone(self, video: int, outcomes: bytes) -> None:
        """What came of a video that was begun alone."""
        self._found[video] = outcomes

    def stop(self) -> list[int]:
        """Nothing more is to be begun; return what has been."""
        self._stopped = True
        return list(self._begun)

"""Counts attempts per video and to load the model (`retries.MAX_ATTEMPTS`).

Ray restarts a dead worker with the same videos without limit; this is the limit. There is one
`Attempts` per run, an actor outside the workers. It keeps outcomes as pickled bytes: unpickling
them would import torch into its process.
"""

from __future__ import annotations

from collections.abc import Sequence

from dycoke_cli.retries import MAX_ATTEMPTS


class Attempts:
    """Videos that were begun, and the outcomes of those that were answered alone.

    Args:
        workers: number of workers, which load the model at the same time.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers, self._loads = workers, 0
        self._begun: dict[int, int] = {}
        self._outcomes: dict[int, bytes] = {}
        self._stopped = False

    def begin_load(self) -> bool | None:
        """Called by a worker before it loads the model.

        Returns:
            Whether it may. False: workers have died of it in a row. None: the run is to end.
        """
        if self._stopped:
            return None
        self._loads += 1
        return self._loads <= MAX_ATTEMPTS * self._workers

    def begin(self, videos: Sequence[int]) -> bool | None:
        """Called by a worker before it works on several videos.

        Returns:
            Whether it may answer them together. False: a worker died with them, one of them may
            be the cause, and each is to be begun alone. None: the run is to end, so none is begun.
        """
        self._loads = 0  # this worker has loaded it
        if self._stopped:
            return None
        if any(video in self._begun for video in videos):
            return False
        self._begun |= dict.fromkeys(videos, 1)
        return True

    def begin_alone(self, video: int) -> int | bytes:
        """Called by a worker before it works on one video alone."""
        if video in self._outcomes:
            return self._outcomes[video]
        self._begun[video] += 1
        return self._begun[video]

    def end_alone(self, video: int, outcomes: bytes) -> None:
        """Called with the outcomes of a video that was begun alone."""
        self._outcomes[video] = outcomes

    def stop(self) -> list[int]:
        """Let no more videos begin; returns those that have."""
        self._stopped = True
        return list(self._begun)

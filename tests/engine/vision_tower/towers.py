"""What tests of vision towers share: merging, the rows of a token, and caches."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from dycoke_cli import DyCoke
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.storage.cache_folder import CacheFiles
from tests.families.sessions import loaded_of
from tests.families.tiny import MAKERS


def files(folder, limit: int = 10**9) -> CacheFiles:
    return CacheFiles(folder, ".safetensors", limit)


def identified(family: str, weights: str = "w"):
    return dataclasses.replace(loaded_of(family), identity={"weights": weights})


WINDOW = 4

MERGING = DyCoke(merge_ratio=0.5, kv_prune=False, merge_stage="vision", positions="kept")


def reference_of(frame: int) -> int | None:
    place = frame % WINDOW
    return None if place == 0 else frame - 1 if place % 2 else frame - place


class Overwritten:
    """Writes rows of a tower that aren't run over with those of the frame that stands for them."""

    def __init__(self, tokens: list[list[int]], ratio: float) -> None:
        self.kept: list[list[int]] = []  # the positions of each frame
        self.hooks: list[Any] = []
        self._others: list[list[int]] = []
        self._tokens, self._ratio = tokens, ratio

    def choose(self, frames: torch.Tensor) -> None:
        """By `[F, P, D]`, from which on rows are written over."""
        for f, frame in enumerate(frames):
            other, count = reference_of(f), len(self._tokens)
            chosen = list(range(count))
            if other is not None:
                pairs = [(frame[at].mean(0), frames[other][at].mean(0)) for at in self._tokens]
                like = [float(torch.cosine_similarity(*p, dim=0).float()) for p in pairs]
                order = sorted(chosen, key=lambda n: (like[n], n))
                chosen = sorted(order[: int((1 - self._ratio) * count + 1e-9)])
            self.kept.append(chosen)
            run = {row for n in chosen for row in self._tokens[n]}
            whole = range(len(frame))
            self._others.append([] if other is None else [row for row in whole if row not in run])

    def written(self, frames: torch.Tensor) -> torch.Tensor:
        """`[F, P, D]` with these rows."""
        frames = frames.clone()
        for f, rows in enumerate(self._others):
            frames[f, rows] = frames[reference_of(f) or 0, rows]
        return frames


SIDE, GRID = 4, 2

CAN = [name for name in MAKERS if name in FAMILIES and FAMILIES[name].tower is not None]


def rows_of(family: str) -> list[list[int]]:
    """For each visual token of a frame the rows of the tower that it is made of."""
    if family == "video_llava":
        return [[row] for row in range(SIDE**2 + 1)]
    first = 1 if family in ("llava_next_video", "internvl") else 0
    return [
        [first + (2 * down + i) * SIDE + 2 * right + j for i in (0, 1) for j in (0, 1)]
        for down in range(GRID)
        for right in range(GRID)
    ]


CANNOT = [name for name in MAKERS if name not in CAN]

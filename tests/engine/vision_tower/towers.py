"""What tests of vision towers share: merging, the rows of a token, and caches."""

from __future__ import annotations

import dataclasses

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

"""The benchmark `shapes` with videos that are drawn from a seed when they are asked about."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from typing_extensions import override

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import About, Split
from dycoke_cli.evaluation.datasets.shapes import EDITION, FILE, Shapes, stored_videos
from dycoke_cli.evaluation.datasets.shapes_long import FILE as LONG_FILE
from dycoke_cli.shapes.benchmark_video import benchmark_video
from dycoke_cli.shapes.random_scripts import content, draw_script
from dycoke_cli.shapes.script import from_json

VIDEOS = 200
"""Videos of a seed, unless a limit names another number."""
LARGEST_SEED = 2**32 - 1
"""numpy takes larger ones apart, so that one of them could be a smaller one with another number."""
_KEY = 20_261_127
# Scripts of this split are no scripts of training, whatever its seed (`random_scripts.split_of`).
_DRAWN_FROM = "test"


class NewShapes(Shapes):
    """Videos and questions of a seed; see `Dataset`.

    They are drawn as the test split was, and say nothing that a stored video or one of training
    says: the same colours, shapes, places and events in the same order.

    Args:
        seed: from 0 to `LARGEST_SEED`. The first videos of a seed are the same for any limit.
    """

    about = About(
        title="shapes: new videos of a seed",
        splits=("new",),
        questions=1670,
        videos=VIDEOS,
        needs="",
        source="drawn from --seed; clips are rendered when they are first needed",
    )

    def __init__(self, seed: int) -> None:
        if not 0 <= seed <= LARGEST_SEED:
            raise UsageError(f"--seed of new videos must be from 0 to {LARGEST_SEED}, not {seed}")
        self._seed = seed

    @override
    def edition(self, split: Split) -> str:
        return f"{EDITION}, seed {self._seed}"

    @override
    def videos(self, split: Split, limit: int | None) -> list[dict[str, Any]]:
        count = VIDEOS if limit is None else limit
        return [_drawn(self._seed, number) for number in range(count)]

    @override
    def video(self, name: str) -> dict[str, Any]:
        return _drawn(self._seed, int(name.rpartition("-")[2]))


@cache
def _drawn(seed: int, number: int) -> dict[str, Any]:
    """The video of a number, with its questions."""
    # numpy ignores zeros at the end of a seed, so attempts count from 1.
    attempt = 1
    while content(script := draw_script([_KEY, seed, number, attempt], _DRAWN_FROM)) in _stored():
        attempt += 1
    rng = np.random.default_rng([_KEY, seed, number, attempt, 1])
    return benchmark_video(f"s{seed}-{number:03d}", "new", number, script, rng)


@cache
def _stored() -> frozenset[str]:
    """What the stored videos of the same split say."""
    of_split = [
        v for file in (FILE, LONG_FILE) for v in stored_videos(file) if v["split"] == _DRAWN_FROM
    ]
    return frozenset(content(from_json(video["script"])) for video in of_split)

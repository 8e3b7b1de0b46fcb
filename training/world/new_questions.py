"""Questions about new videos of moving shapes, as a file that `dycoke eval` reads.

The videos are drawn from a seed, as the test split of `shapes` was, and say nothing that a stored
video or one of training says: the same colours, shapes, places and events in the same order.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets.shapes import FILE, LONG_FILE, stored_videos
from dycoke_cli.shapes.recording import Recording, write_clip
from dycoke_cli.shapes.script import from_json
from training.world.benchmark_video import benchmark_video
from training.world.random_scripts import content, draw_script

QUESTIONS = "questions.jsonl"
LARGEST_SEED = 2**32 - 1
"""numpy takes larger ones apart, so that one of them could be a smaller one with another number."""
_KEY = 20_261_127
# Scripts of this split are no scripts of training, whatever its seed (`random_scripts.split_of`).
_DRAWN_FROM = "test"


def write_questions(folder: Path, seed: int, count: int) -> Path:
    """Write the clips of a seed, and the file with the questions about them.

    The first videos of a seed are the same for any count. A question that follows on an earlier one
    is left out: a file has single questions.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"--seed must be from 0 to {LARGEST_SEED}, not {seed}")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        video = drawn(seed, number)
        name = f"{video['id']}.mp4"
        write_clip(from_json(video["script"]), Recording(), folder / name)
        rows += [
            {
                "id": f"{video['id']}-{place}",
                "video": name,
                "question": asked["text"],
                "answer": asked["answer"],
                "category": asked["kind"],
            }
            for place, asked in enumerate(video["questions"])
            if "earlier" not in asked
        ]
    file = folder / QUESTIONS
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def drawn(seed: int, number: int) -> dict[str, Any]:
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

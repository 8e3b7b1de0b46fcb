"""Builds the file of the benchmark `shapes`: scripts and questions of its two splits.

The same file each time. Each version of the benchmark is built once; a new one gets a new number in
`evaluation/datasets/shapes.py`.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np

from dycoke_cli.evaluation.datasets.shapes import FILE
from training.world.benchmark_video import benchmark_video
from training.world.random_scripts import draw_script

VIDEOS = {"validation": 200, "test": 600}
SEED = 20_261_120


def build(index: int) -> dict[str, Any]:
    """The video of that place in the file, with its questions."""
    split, number = ("validation", index) if index < VIDEOS["validation"] else ("test", index)
    number -= 0 if split == "validation" else VIDEOS["validation"]
    script = draw_script([SEED, index], split)
    rng = np.random.default_rng([SEED, index, 1])
    return benchmark_video(f"{split[0]}{number:03d}", split, number, script, rng)


def write_benchmark() -> int:
    """Writes the file; returns how many questions it has."""
    lines = [build(index) for index in range(sum(VIDEOS.values()))]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return sum(len(line["questions"]) for line in lines)

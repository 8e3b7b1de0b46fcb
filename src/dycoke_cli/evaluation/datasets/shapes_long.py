"""The benchmark `shapes-long`: the events of `shapes` in videos of 2 to 60 minutes.

The package has one small file with scripts and questions, built by `python -m training benchmark`.
No video is stored: each frame is rendered when it is read, one per second of the video.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from typing_extensions import override

from dycoke_cli.evaluation.dataset import About, Item, Split
from dycoke_cli.evaluation.datasets.shapes import StoredShapes
from dycoke_cli.shapes.script import Script
from dycoke_cli.video.rendered import Rendered

FILE = Path(__file__).with_name("shapes_long.jsonl.gz")
EDITION = "1"
LENGTHS_S = (120, 600, 1800, 3600)
FPS = 1.0
"""Frames per second of every video."""
SIDE = 64
"""Width and height of a frame in pixels: those that the bundled model reads."""
DEPTHS = 10


class ShapesLong(StoredShapes):
    """The benchmark; see `Dataset`. The label of a question is the length of its video."""

    name = "shapes-long"
    questions_file = FILE
    current = EDITION
    about = About(
        title="shapes-long: short events in videos of 2 to 60 minutes",
        splits=("test", "validation"),
        questions=640,
        videos=80,
        needs="",
        source="bundled; frames are rendered when they are read",
    )

    @override
    def items(self, split: Split, limit_videos: int | None = None) -> list[Item]:
        return [
            replace(item, label=f"{self.script(item.video).seconds / 60:.0f} min", picture_fps=FPS)
            for item in super().items(split, limit_videos)
        ]

    @override
    def file(self, video: str) -> Rendered:
        """The video: a frame per second, rendered when it is read."""
        script = self.script(video)
        return Rendered(f"{self.name}/{video}", int(script.seconds * FPS), partial(frame, script))


def frame(script: Script, number: int) -> np.ndarray:
    """The frame of a number of a video, uint8 [SIDE, SIDE, 3]."""
    # Imported late: listing questions needs no renderer.
    from dycoke_cli.shapes.render import render

    return render(script, np.array([number / (FPS * script.seconds)]), SIDE)[0]


def depth_of(script: Script) -> int | None:
    """In which of ten equal parts of a video its card begins, from 0 on; None without a card."""
    return next((int(e.begin * DEPTHS) for e in script.events if e.deed == "show"), None)

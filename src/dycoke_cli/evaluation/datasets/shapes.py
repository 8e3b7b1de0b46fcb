"""The benchmarks `shapes` and `shapes-long`: events in time, held out from the model's training.

The package has a small file of each, with scripts and questions, built by `python -m training
benchmark`. Clips of `shapes` are rendered and encoded on first use, and kept in the cache folder.
Videos of `shapes-long` last 2 to 60 minutes, and none is stored: each frame is rendered when it is
read, one per second of the video.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.evaluation.dataset import About, Dataset, Item, Score, Split
from dycoke_cli.evaluation.scoring.rules import chosen, share_in_order, share_told
from dycoke_cli.shapes.script import Script, from_json
from dycoke_cli.storage.cache_folder import kept, make_folder
from dycoke_cli.storage.output_file import temporary_folder
from dycoke_cli.video.pictures import Rendered

FILE = Path(__file__).with_name("shapes.jsonl.gz")
EDITION = "1"
_LETTERS = 4
_OPTION = re.compile(r"^[A-D]\. (.+)$", re.MULTILINE)


class StoredShapes(Dataset):
    """Base of the bundled benchmarks: questions of a file of scripts, and their scores."""

    questions_file: ClassVar[Path]  # what `python -m training benchmark` wrote
    current: ClassVar[str]  # version of the data

    @override
    def edition(self, split: Split) -> str:
        return self.current

    @override
    def items(self, split: Split, limit_videos: int | None = None) -> list[Item]:
        items = []
        for video in self.videos(split, limit_videos):
            for i, data in enumerate(video["questions"]):
                items.append(
                    Item(
                        id=f"{video['id']}-{i}",
                        video=video["id"],
                        question=data["text"],
                        answer=data["answer"],
                        kind=data["kind"],
                        label=video["script"]["label"],
                        history=tuple((q, a) for q, a in data.get("earlier", ())),
                        options=tuple(_OPTION.findall(data["text"])),
                    )
                )
        return items

    def script(self, video: str) -> Script:
        """The script of a video."""
        return from_json(self.video(video)["script"])

    def videos(self, split: Split, limit: int | None) -> list[dict[str, Any]]:
        """The first videos of a split as `stored_videos` has them, all without a limit."""
        of_split = [v for v in stored_videos(self.questions_file) if v["split"] == split]
        return of_split[:limit]

    def video(self, name: str) -> dict[str, Any]:
        """The video of a name."""
        return next(v for v in stored_videos(self.questions_file) if v["id"] == name)

    @override
    def notes(self) -> list[str]:
        return []

    @override
    def missing(self, videos: Iterable[str]) -> list[str]:
        """Always empty: every video can be rendered."""
        return []

    @staticmethod
    def score(item: Item, said: str) -> Score:
        """Exact match, or the chosen letter of a multiple-choice question.

        A description has two parts: `told`, the fraction of events that it mentions, and `ordered`,
        the fraction that it mentions in the correct order.
        """
        said = answer_of(said)
        if item.kind == "letter":
            letter = chosen(said, ("",) * _LETTERS)
            return Score(letter == item.answer, parsed=letter is not None)
        parts = {}
        if item.kind == "description":
            parts["told"] = share_told(item.answer, said)
            parts["ordered"] = share_in_order(item.answer, said)
        return Score(said == item.answer, parts)


class Shapes(StoredShapes):
    """The benchmark; see `Dataset`."""

    name = "shapes"
    questions_file = FILE
    current = EDITION
    about = About(
        title="shapes: events in time, held out from the bundled model's training",
        splits=("test", "validation"),
        questions=5010,
        videos=600,
        needs="",
        source="bundled; clips are rendered when they are first needed",
    )

    @override
    def file(self, video: str) -> Path:
        """Path of a clip in the cache, rendered if necessary."""
        folder = kept("shapes") / f"{self.name}-{EDITION}"
        path = folder / f"{video}.mp4"
        if not path.is_file():
            # Imported late: listing questions needs no encoder.
            from dycoke_cli.shapes.recording import Recording, write_clip

            make_folder(folder)
            # Workers may render the same clip: each writes its own file, and all are identical.
            with temporary_folder(folder) as own:
                write_clip(self.script(video), Recording(), own / path.name)
                os.replace(own / path.name, path)
        return path


@lru_cache(maxsize=2)
def stored_videos(file: Path) -> list[dict[str, Any]]:
    """The videos of a benchmark's file: id, split, script and questions of each."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


LONG_FILE = Path(__file__).with_name("shapes_long.jsonl.gz")
LONG_EDITION = "1"
FPS = 1.0
"""Frames per second of every video."""
SIDE = 64
"""Width and height of a frame in pixels: those that the bundled model reads."""


class ShapesLong(StoredShapes):
    """The benchmark; see `Dataset`. The label of a question is the length of its video."""

    name = "shapes-long"
    questions_file = LONG_FILE
    current = LONG_EDITION
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

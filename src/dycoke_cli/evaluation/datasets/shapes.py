"""The benchmark `shapes`: events in time, held out from the bundled model's training.

The package has one small file with scripts and questions, built by `python -m training benchmark`.
Clips are rendered and encoded on first use, and kept in the cache folder.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from typing_extensions import override

from dycoke_cli.evaluation.dataset import About, Dataset, Item, Score, Split
from dycoke_cli.evaluation.scoring.choices import chosen
from dycoke_cli.evaluation.scoring.descriptions import share_in_order, share_told
from dycoke_cli.evaluation.scoring.thinking import answer_of
from dycoke_cli.shapes.script import from_json
from dycoke_cli.storage.cache_folder import cache_folder, make_folder
from dycoke_cli.storage.temporary import temporary_folder

FILE = Path(__file__).with_name("shapes.jsonl.gz")
EDITION = "1"
_LETTERS = 4
_OPTION = re.compile(r"^[A-D]\. (.+)$", re.MULTILINE)


class Shapes(Dataset):
    """The benchmark; see `Dataset`."""

    name = "shapes"
    about = About(
        title="shapes: events in time, held out from the bundled model's training",
        splits=("test", "validation"),
        questions=5010,
        videos=600,
        needs="",
        source="bundled; clips are rendered when they are first needed",
    )

    @override
    def edition(self, split: Split) -> str:
        return EDITION

    @override
    def items(self, split: Split, limit_videos: int | None = None) -> list[Item]:
        videos = [v for v in _videos() if v["split"] == split][:limit_videos]
        items = []
        for video in videos:
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

    @override
    def notes(self) -> list[str]:
        return []

    @override
    def missing(self, videos: Iterable[str]) -> list[str]:
        """Always empty: every clip can be rendered."""
        return []

    @override
    def file(self, video: str) -> Path:
        """Path of a clip in the cache, rendered if necessary."""
        folder = cache_folder() / f"{self.name}-{EDITION}"
        path = folder / f"{video}.mp4"
        if not path.is_file():
            # Imported late: listing questions needs no encoder.
            from dycoke_cli.shapes.recording import Recording, write_clip

            make_folder(folder)
            script = from_json(next(v["script"] for v in _videos() if v["id"] == video))
            # Workers may render the same clip: each writes its own file, and all are identical.
            with temporary_folder(folder) as own:
                write_clip(script, Recording(), own / path.name)
                os.replace(own / path.name, path)
        return path

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


@lru_cache(maxsize=1)
def _videos() -> list[dict[str, Any]]:
    with gzip.open(FILE, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]

"""A benchmark made of the sample clips."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dycoke_cli.evaluation.dataset import About, Item, Score, Split

CLIPS = Path(__file__).parents[2] / "sample_videos"


@dataclass(frozen=True)
class Samples:
    """Questions about the sample clips, the shortest clips first."""

    about: ClassVar[About] = About("samples", ("test", "validation"), 58, 10, "", "here")
    name: str = "samples"
    broken: str = ""  # the name of a clip that isn't there

    def edition(self, split: Split) -> str:
        return "1"

    def notes(self) -> list[str]:
        return []

    def missing(self, videos: Iterable[str]) -> list[str]:
        return []

    def items(self, split: Split, limit_videos: int | None) -> list[Item]:
        clips = json.loads((CLIPS / "samples.json").read_text(encoding="utf-8"))
        clips.sort(key=lambda clip: clip["seconds"])
        return [
            Item(
                id=f"{clip['file']}_{number}",
                video=clip["file"],
                question=question["text"],
                answer=question["answer"],
                kind=question["kind"],
                history=tuple((asked, said) for asked, said in question.get("earlier", ())),
                label="short" if clip["seconds"] < 5 else "long",
            )
            for clip in clips[:limit_videos]
            for number, question in enumerate(clip["questions"])
            if split == "test" or number == 0
        ]

    def file(self, video: str) -> Path:
        return CLIPS / ("no.mp4" if video == self.broken else video)

    @staticmethod
    def score(item: Item, said: str) -> Score:
        if item.kind != "description":
            return Score(said == item.answer)
        sentences = item.answer.split(". ")
        return Score(
            said == item.answer, {"told": sum(s in said for s in sentences) / len(sentences)}
        )


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """What two runs' reports have in common: neither where they are kept nor how long they took."""
    for row in document["rows"]:
        row.update(dict.fromkeys(("seconds", "seconds_prefill", "seconds_decode")))
    return {**document, "journal": ""}


WHERE = ("tests.evaluation.samples", "Samples")
"""Its entry in `DATASETS`."""

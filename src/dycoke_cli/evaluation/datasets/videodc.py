"""VideoDetailCaption: detailed captions of 499 videos.

Without a judge, the score is ROUGE-L against the reference (`descriptions.rouge_l`).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.evaluation.annotations import ROW_FILES, read_rows
from dycoke_cli.evaluation.dataset import About, Item, Score, Split
from dycoke_cli.evaluation.folder import FolderDataset, without_suffix
from dycoke_cli.evaluation.scoring.descriptions import rouge_l

_FIELDS = ("video_name", "question", "answer")
_STEMS = ("test", "test-*", "video*caption*", "video_dc*", "videodc*")


class VideoDC(FolderDataset):
    """The benchmark; see `Dataset`."""

    group: ClassVar[str] = "video_dc499"
    about: ClassVar[About] = About(
        title="VideoDetailCaption",
        splits=("test",),
        questions=499,
        videos=499,
        needs="test-*.parquet (or its rows as test.jsonl, .json or .csv), and the videos by "
        "video_name",
        source="https://huggingface.co/datasets/lmms-lab/VideoDetailCaption",
        metric="rouge_l_f1",
        judge="caption",
    )

    @override
    def files(self, split: Split) -> list[Path]:
        return [self.required(*(stem + suffix for suffix in ROW_FILES for stem in _STEMS))]

    @override
    def read(self, split: Split) -> list[Item]:
        rows = self.checked(read_rows(self.files(split)[0]), _FIELDS)
        return [
            Item(
                id=without_suffix(row.text("video_name")),
                video=without_suffix(row.text("video_name")),
                question=row.text("question"),
                answer=row.text("answer"),
                kind="description",
                label="",
            )
            for row in rows
        ]

    @override
    def find(self, video: str) -> Path | None:
        return self.folder.video(video)

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by ROUGE-L F1 against the reference."""
        said = answer_of(said)
        return Score(False, value=rouge_l(item.answer, said), parsed=bool(said.strip()))

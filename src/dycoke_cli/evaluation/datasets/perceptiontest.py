"""Perception Test, multiple choice, validation split. https://arxiv.org/abs/2305.13786"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.annotations import AnnotationRow, read_json
from dycoke_cli.evaluation.dataset import About, Item, Rule, Score, Split
from dycoke_cli.evaluation.folder import FolderDataset
from dycoke_cli.evaluation.scoring.choices import LETTERS, lettered, score_choice
from dycoke_cli.evaluation.scoring.lmms_rules import LMMS_EVAL, perceptiontest
from dycoke_cli.unicode import display_name

_FILES = ("mc_question_valid.json", "all_valid.json", "*mc_question*val*.json", "*valid*.json")
_FIELDS = ("id", "question", "options", "answer_id", "area", "reasoning")
_ALSO = ("tag",)
_ASK = "Answer with the option's letter from the given choices directly."


class PerceptionTest(FolderDataset):
    """The benchmark; see `Dataset`. `by_type` is its areas, `by_label` the kinds of reasoning."""

    group: ClassVar[str] = "perceptiontest_val_mc"
    about: ClassVar[About] = About(
        title="Perception Test, multiple choice",
        splits=("validation",),
        questions=19140,
        videos=5900,
        needs="mc_question_valid.json or all_valid.json, and the videos of valid_videos.zip",
        source="https://github.com/google-deepmind/perception_test",
        bytes=70_200_000_000,
    )
    rules: ClassVar[Mapping[str, Rule]] = {LMMS_EVAL: perceptiontest}

    @override
    def files(self, split: Split) -> list[Path]:
        return [self.required(*_FILES)]

    @override
    def read(self, split: Split) -> list[Item]:
        path = self.files(split)[0]
        items = []
        for video, about in read_json(path, dict).items():
            rows = self.checked(_questions(path.name, video, about), _FIELDS, _ALSO)
            for row in rows:
                options = row.texts("options")
                items.append(
                    Item(
                        id=f"{video}_{row.text('id')}",
                        video=video,
                        question=f"{row.text('question')}\n{lettered(options)}\n{_ASK}",
                        answer=LETTERS[row.index("answer_id", len(options))],
                        kind=row.text("area"),
                        label=row.text("reasoning"),
                        options=options,
                    )
                )
        return items

    @override
    def find(self, video: str) -> Path | None:
        return self.folder.video(video)

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by the chosen letter."""
        return score_choice(item, said)


def _questions(file: str, video: str, about: Any) -> list[AnnotationRow]:
    """The questions about a video; some have none."""
    where = f"{file}, {display_name(video)}"
    if not isinstance(about, dict) or not isinstance(about.get("mc_question"), list):
        raise UsageError(f"{where} has no list mc_question: is it the file of another benchmark?")
    rows = [
        AnnotationRow(f"{where}, question {n}", q) for n, q in enumerate(about["mc_question"], 1)
    ]
    for row in rows:
        if not isinstance(row.fields, dict):
            raise UsageError(f"{row.where} isn't an object")
    return rows

"""ActivityNet-QA: short free answers about web videos. https://arxiv.org/abs/1906.02467"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.annotations import read_rows
from dycoke_cli.evaluation.dataset import About, Item, Score, Split
from dycoke_cli.evaluation.folder import FolderDataset
from dycoke_cli.evaluation.scoring.descriptions import exact_match
from dycoke_cli.unicode import display_name

_FILES: dict[Split, str] = {"test": "test", "validation": "val"}
_KINDS = (
    "motion", "spatial relation", "temporal relation", "yes/no", "color", "object", "location",
    "number", "other",
)  # fmt: skip
_YES_NO = "yes/no"


class ActivityNetQA(FolderDataset):
    """The benchmark; see `Dataset`. `by_type` is its nine types, `by_label` yes/no and the rest."""

    group: ClassVar[str] = "activitynetqa"
    about: ClassVar[About] = About(
        title="ActivityNet-QA",
        splits=("test", "validation"),
        questions=8000,
        videos=800,
        needs="test_q.json and test_a.json (val_… for --split validation), and the videos by their "
        "YouTube names, with v_ in front or without",
        source="https://github.com/MILVLG/activitynet-qa",
        judge="answer",
    )

    @override
    def files(self, split: Split) -> list[Path]:
        return [self.required(f"{_FILES[split]}_{which}.json") for which in ("q", "a")]

    @override
    def read(self, split: Split) -> list[Item]:
        paths = self.files(split)
        questions = self.checked(read_rows(paths[0]), ("video_name", "question", "question_id"))
        references = self.checked(read_rows(paths[1]), ("answer", "type", "question_id"))
        answers = {row.text("question_id"): row for row in references}
        items = []
        for row in questions:
            name = row.text("question_id")
            if name not in answers:
                raise UsageError(
                    f"{row.where}: {paths[1].name} has no answer to {display_name(name)!r}"
                )
            answer = answers[name]
            kind = _KINDS[answer.index("type", len(_KINDS))]
            question = row.text("question").capitalize()
            items.append(
                Item(
                    id=name,
                    video=row.text("video_name"),
                    question=f"{question}? Answer the question using a single word or phrase.",
                    answer=answer.text("answer"),
                    kind=kind,
                    label=_YES_NO if kind == _YES_NO else "all but yes/no",
                )
            )
        return items

    @override
    def find(self, video: str) -> Path | None:
        return self.folder.video(f"v_{video}") or self.folder.video(video)

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Exact match up to case, and punctuation at the ends.

        The part `official` is the rule of the published script: identical text.
        """
        return replace(exact_match(item, said), parts={"official": float(said == item.answer)})

"""NExT-QA, multiple choice: why, when and what in everyday videos. https://arxiv.org/abs/2105.08276"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from dycoke_cli.evaluation.annotations import read_json, read_rows
from dycoke_cli.evaluation.dataset import About, Item, Rule, Score, Split
from dycoke_cli.evaluation.folder import FolderDataset
from dycoke_cli.evaluation.scoring.choices import LETTERS, lettered, score_choice
from dycoke_cli.evaluation.scoring.lmms_rules import LMMS_EVAL, nextqa

_FILES: dict[Split, str] = {"test": "test.csv", "validation": "val.csv"}
_OPTIONS = tuple(f"a{i}" for i in range(5))
_FIELDS = ("video", "question", "answer", "qid", "type", *_OPTIONS)
_ALSO = ("frame_count", "width", "height")
_GROUPS = {"C": "causal", "T": "temporal", "D": "descriptive"}
_TYPES = ("CW", "CH", "TN", "TC", "TP", "DC", "DL", "DO", "DB")


class NextQA(FolderDataset):
    """The benchmark; see `Dataset`. `by_type` is its types, `by_label` their groups."""

    group: ClassVar[str] = "nextqa_mc_test"
    about: ClassVar[About] = About(
        title="NExT-QA, multiple choice",
        splits=("test", "validation"),
        questions=8564,
        videos=1000,
        needs="test.csv (val.csv for --split validation), and the videos of NExTVideo; "
        "map_vid_vidorID.json if their files have other names than the column video",
        source="https://github.com/doc-doc/NExT-QA",
        bytes=4_100_000_000,
    )
    rules: ClassVar[Mapping[str, Rule]] = {LMMS_EVAL: nextqa}

    @override
    def files(self, split: Split) -> list[Path]:
        return [self.required(_FILES[split])]

    @override
    def read(self, split: Split) -> list[Item]:
        rows = self.checked(read_rows(self.files(split)[0]), _FIELDS, _ALSO)
        items = []
        for row in rows:
            options = tuple(row.text(name).strip() for name in _OPTIONS)
            kind = row.one_of("type", _TYPES)
            items.append(
                Item(
                    id=f"{row.text('video')}_{row.text('qid')}",
                    video=row.text("video"),
                    question=f"{row.text('question').strip()}\n{lettered(options)}",
                    answer=LETTERS[row.index("answer", len(options))],
                    kind=kind,
                    label=_GROUPS[kind[0]],
                    options=options,
                )
            )
        return items

    @override
    def find(self, video: str) -> Path | None:
        """Path of a video by its name, or by the name in the map file."""
        return self.folder.video(video) or self._mapped(video)

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by the chosen letter."""
        return score_choice(item, said)

    def _mapped(self, video: str) -> Path | None:
        if self._map is None:
            path = self.folder.annotations("map_vid_vidorID.json")
            self._map = {} if path is None else read_json(path, dict)
        name = self._map.get(video)
        return self.folder.video(name) if isinstance(name, str) else None

    _map: dict[str, object] | None = None

"""MVBench: twenty tasks on eleven sources of short videos. https://arxiv.org/abs/2311.17005

Both of its layouts are supported: whole videos with a start and end per question, and clips that
were cut beforehand, which lmms-eval uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from dycoke_cli.evaluation.annotations import AnnotationRow, read_rows
from dycoke_cli.evaluation.dataset import About, Item, Rule, Score, Split
from dycoke_cli.evaluation.folder import FolderDataset
from dycoke_cli.evaluation.scoring.choices import LETTERS, lettered, score_choice
from dycoke_cli.evaluation.scoring.lmms_rules import LMMS_EVAL, mvbench

_STAR = "star/Charades_v1_480"
_CLEVRER = "clevrer/video_validation"
_PERCEPTION = "perception/videos"
_TVQA = "tvqa/frames_fps3_hq"
_TASKS = {
    "action_antonym": "ssv2_video",
    "action_count": _PERCEPTION,
    "action_localization": "sta/sta_video",
    "action_prediction": _STAR,
    "action_sequence": _STAR,
    "character_order": _PERCEPTION,
    "counterfactual_inference": _CLEVRER,
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": _TVQA,
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "fine_grained_pose": "nturgbd",
    "moving_attribute": _CLEVRER,
    "moving_count": _CLEVRER,
    "moving_direction": _CLEVRER,
    "object_existence": _CLEVRER,
    "object_interaction": _STAR,
    "object_shuffle": _PERCEPTION,
    "scene_transition": "scene_qa/video",
    "state_change": _PERCEPTION,
    "unexpected_action": "FunQA_test/test",
}
# Folders with other names in the branch that lmms-eval downloads.
_CONVERTED = {"ssv2_video": "ssv2_video_mp4", "nturgbd": "nturgbd_convert"}
_CUT = {
    _STAR: "star/Charades_segment",
    "sta/sta_video": "sta/sta_video_segment",
    _TVQA: "tvqa/video_fps3_hq_segment",
}
_FIELDS = ("video", "question", "candidates", "answer")
_ALSO = ("start", "end", "accurate_start", "accurate_end", "fps", "question_id", "task_type")
_FRAMES_PER_SECOND = 3


class MVBench(FolderDataset):
    """The benchmark; see `Dataset`. `by_type` is its tasks, whose mean is reported.

    An item's video is named by the folder of its source, as whole videos lie there.
    """

    group: ClassVar[str] = "mvbench"
    about: ClassVar[About] = About(
        title="MVBench",
        splits=("test",),
        questions=4000,
        videos=3641,
        needs="json/*.json of its twenty tasks (of one, for mvbench_TASK), and the folders of "
        "videos beside it, unpacked",
        source="https://huggingface.co/datasets/OpenGVLab/MVBench",
        bytes=15_800_000_000,
        macro=True,
    )
    tasks: ClassVar[tuple[str, ...]] = tuple(_TASKS)
    rules: ClassVar[Mapping[str, Rule]] = {LMMS_EVAL: mvbench}

    @override
    def files(self, split: Split) -> list[Path]:
        return [self.required(f"{task}.json") for task in self._asked()]

    @override
    def edition(self, split: Split) -> str:
        """Hash of the annotations, and the number of clips cut beforehand: their frames differ."""
        parts = [item for item in self.read(split) if item.video.startswith((*_CUT,))]
        cut = sum(item.start_s is None for item in parts)
        return super().edition(split) + (f"-cut{cut}" if cut else "")

    @override
    def read(self, split: Split) -> list[Item]:
        return [
            self._item(task, number, row)
            for task, path in zip(self._asked(), self.files(split), strict=True)
            for number, row in enumerate(self.checked(read_rows(path), _FIELDS, _ALSO))
        ]

    @override
    def find(self, video: str) -> Path | None:
        """Path of the whole video, otherwise of the clip cut from it."""
        source = next(folder for folder in _TASKS.values() if video.startswith(f"{folder}/"))
        name = video.removeprefix(f"{source}/")
        return self._whole(source, name) or (
            self.folder.video(name, _CUT[source]) if source in _CUT else None
        )

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by the chosen letter."""
        return score_choice(item, said)

    def _asked(self) -> tuple[str, ...]:
        return self.tasks if self.task is None else (self.task,)

    def _whole(self, source: str, name: str) -> Path | None:
        if source == _TVQA:
            return self.folder.directory(f"{source}/{name}")
        converted = _CONVERTED.get(source)
        return self.folder.video(name, source) or (
            self.folder.video(name, converted) if converted else None
        )

    def _item(self, task: str, number: int, row: AnnotationRow) -> Item:
        candidates = row.texts("candidates")
        if row.fields["answer"] not in candidates:
            raise row.wrong("answer", "is none of the candidates")
        source, name = _TASKS[task], row.text("video")
        start, end = self._part(source, name, row)
        options = lettered(candidates, "({}) {}")
        return Item(
            id=f"{task}_{number}",
            video=f"{source}/{name}",
            question=f"Question:{row.text('question')}\nOption:\n{options}\n"
            "Only give the best option.",
            answer=LETTERS[candidates.index(row.fields["answer"])],
            kind=task,
            label="",
            options=candidates,
            start_s=start,
            end_s=end,
            picture_fps=_FRAMES_PER_SECOND if source == _TVQA else None,
        )

    def _part(
        self, source: str, name: str, row: AnnotationRow
    ) -> tuple[float | None, float | None]:
        """Start and end in the whole video; None if only the clip exists."""
        if "start" not in row.fields or "end" not in row.fields:
            return None, None
        start, end = row.seconds("start"), row.seconds("end")
        if end <= start:
            raise row.wrong("end", f"isn't after its start ({start:g})")
        # The clip is the part already, so cutting it again would show the wrong frames.
        if self._whole(source, name) is None and self.find(f"{source}/{name}") is not None:
            return None, None
        return start, end

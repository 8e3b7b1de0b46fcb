"""The published benchmarks: the names of their files, the fields of a row, and how it is asked.

Prompts are those of lmms-eval. Sources: ActivityNet-QA (arXiv 1906.02467), MVBench (2311.17005),
NExT-QA (2105.08276), Perception Test (2305.13786), Video-MME (2405.21075). Subtitles of Video-MME's
prompts, too, are by the rule of lmms-eval: the lines at 32 evenly spaced frames of the video,
whichever frames the model gets. `--subtitles` has another rule, lines at the sampled frames
(`video/subtitles.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.evaluation.dataset import ROW_FILES, About, Item, Score, Split
from dycoke_cli.evaluation.folder import (
    AnnotationRow,
    FolderDataset,
    read_json,
    read_rows,
    without_suffix,
)
from dycoke_cli.evaluation.scoring.rules import (
    LETTERS,
    exact_match,
    lettered,
    rouge_l,
    score_choice,
)
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.unicode import display_name
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.sampling import Sampling

NONE = "No subtitles available"
"""Text in the prompt of a video without a subtitle file."""
FRAMES = 32
# Only the first text in this tag counts, as in lmms-eval.
_TEXT = re.compile(r'<font color="white" size="\.72c">(.*?)</font>')
_TIMES = re.compile(r"(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)")


def videomme_subtitles(
    subtitles: str | os.PathLike[str], video: str | os.PathLike[str], frames: int = FRAMES
) -> str:
    """Subtitle text of a Video-MME prompt: lines of text, or `NONE`."""
    if not os.path.isfile(subtitles):
        return NONE
    try:
        content = re.sub("\r\n?", "\n", read_text(subtitles))  # as Python opens text files
        return "\n".join(lines_at(content, *_rate_and_count(video), frames))
    except OSError as error:
        reason = error.strerror
    except ValueError as error:
        reason = str(error)
    raise UsageError(f"the subtitles {display_name(subtitles)} can't be read ({reason})")


def lines_at(content: str, fps: float, count: int, frames: int = FRAMES) -> list[str]:
    """Text of the lines at evenly spaced frames, without repetition.

    A line covers the frame at its start up to, but not including, the frame at its end. Of two
    lines with the same times the later one counts. The order is the one in which Python iterates a
    set of line numbers, as in lmms-eval: chronological, except sometimes for many lines.
    """
    texts: dict[tuple[float, float], str] = {}
    for section in content.split("\n\n"):
        number_times_text = section.split("\n") if section.strip() else []
        if len(number_times_text) < 3:
            continue
        match = _TIMES.match(number_times_text[1])
        if match is None:
            raise ValueError(f"no times in {number_times_text[1][:60]!r}")
        h, m, s, ms, to_h, to_m, to_s, to_ms = map(int, match.groups())
        times = 3600 * h + 60 * m + s + ms / 1000, 3600 * to_h + 60 * to_m + to_s + to_ms / 1000
        texts[times] = " ".join(number_times_text[2:])
    sampled = np.linspace(0, count - 1, frames, dtype=int).tolist()
    # Iterating over this set gives the order of lmms-eval; sorting it would change prompts.
    shown = {
        number
        for frame in sampled
        for number, (start, end) in enumerate(texts)
        if int(start * fps) <= frame < int(end * fps)
    }
    lines = list(texts.values())
    matches = (_TEXT.search(lines[number]) for number in shown)
    return [match[1] for match in matches if match]


def _rate_and_count(video: str | os.PathLike[str]) -> tuple[float, int]:
    """Frame rate and number of frames, computed like OpenCV, which lmms-eval uses.

    Read by a sandboxed process: a benchmark's files are downloaded, too.
    """
    with Decoder() as decoder, decoder.open(os.fspath(video), Sampling(frames=1)) as opened:
        info = opened.plan.info
    if info.fps is None or (info.frame_count is None and info.duration_s is None):
        raise VideoError(f"{info.path} doesn't say how many frames it has: convert it to MP4")
    return info.fps, info.frame_count or int(info.fps * (info.duration_s or 0) + 0.5)


class RowsDataset(FolderDataset):
    """Base: each row of one file is a multiple-choice question; see `Dataset`."""

    annotations: ClassVar[Mapping[Split, tuple[str, ...]]]
    """Names of the file of each split; the first that is there."""
    fields: ClassVar[tuple[str, ...]]
    """Fields of a row that are read."""

    def item(self, row: AnnotationRow) -> Item:
        """The question of a row; not where `read` makes them itself."""
        raise NotImplementedError

    @override
    def files(self, split: Split) -> list[Path]:
        only = next(iter(self.annotations.values()))
        return [self.required(*self.annotations.get(split, only))]

    @override
    def read(self, split: Split) -> list[Item]:
        rows = read_rows(self.files(split)[0])
        return [self.item(row) for row in self.checked(rows, self.fields)]

    @override
    def find(self, video: str) -> Path | None:
        return self.folder.video(video)

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by the chosen letter."""
        return score_choice(item, said)


def _in_any_format(*stems: str) -> dict[Split, tuple[str, ...]]:
    """Names of the only file, whatever its format."""
    return {"test": tuple(stem + suffix for suffix in ROW_FILES for stem in stems)}


_LETTER_ALONE = "Answer with the option's letter from the given choices directly."


_KINDS = (
    "motion", "spatial relation", "temporal relation", "yes/no", "color", "object", "location",
    "number", "other",
)  # fmt: skip
_YES_NO = "yes/no"


class ActivityNetQA(RowsDataset):
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

    fields = ("video_name", "question", "question_id")

    @override
    def files(self, split: Split) -> list[Path]:
        name = "test" if split == "test" else "val"
        return [self.required(f"{name}_{which}.json") for which in ("q", "a")]

    @override
    def read(self, split: Split) -> list[Item]:
        path = self.files(split)[1]
        references = self.checked(read_rows(path), ("answer", "type", "question_id"))
        self._answers = path.name, {row.text("question_id"): row for row in references}
        return super().read(split)

    @override
    def item(self, row: AnnotationRow) -> Item:
        (file, answers), name = self._answers, row.text("question_id")
        if name not in answers:
            raise UsageError(f"{row.where}: {file} has no answer to {display_name(name)!r}")
        answer, question = answers[name], row.text("question").capitalize()
        kind = _KINDS[answer.index("type", len(_KINDS))]
        return Item(
            id=name,
            video=row.text("video_name"),
            question=f"{question}? Answer the question using a single word or phrase.",
            answer=answer.text("answer"),
            kind=kind,
            label=_YES_NO if kind == _YES_NO else "all but yes/no",
        )

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


class MVBench(RowsDataset):
    """The benchmark; see `Dataset`. `by_type` is its tasks, whose mean is reported.

    Both of its layouts are supported: whole videos with a start and end per question, and clips
    that were cut beforehand, which lmms-eval uses. An item's video is named by the folder of its
    source, as whole videos lie there.
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
    fields = ("video", "question", "candidates", "answer")

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
            for number, row in enumerate(self.checked(read_rows(path), self.fields))
        ]

    @override
    def find(self, video: str) -> Path | None:
        """Path of the whole video, otherwise of the clip cut from it."""
        source = next(folder for folder in _TASKS.values() if video.startswith(f"{folder}/"))
        name = video.removeprefix(f"{source}/")
        return self._whole(source, name) or (
            self.folder.video(name, _CUT[source]) if source in _CUT else None
        )

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
            picture_fps=3 if source == _TVQA else None,
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


_OPTIONS = tuple(f"a{i}" for i in range(5))
_GROUPS = {"C": "causal", "T": "temporal", "D": "descriptive"}
_TYPES = ("CW", "CH", "TN", "TC", "TP", "DC", "DL", "DO", "DB")


class NextQA(RowsDataset):
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
    annotations: ClassVar = {"test": ("test.csv",), "validation": ("val.csv",)}
    fields = ("video", "question", "answer", "qid", "type", *_OPTIONS)
    _map: dict[str, object] | None = None

    @override
    def item(self, row: AnnotationRow) -> Item:
        options = tuple(row.text(name).strip() for name in _OPTIONS)
        kind = row.one_of("type", _TYPES)
        return Item(
            id=f"{row.text('video')}_{row.text('qid')}",
            video=row.text("video"),
            question=f"{row.text('question').strip()}\n{lettered(options)}",
            answer=LETTERS[row.index("answer", len(options))],
            kind=kind,
            label=_GROUPS[kind[0]],
            options=options,
        )

    @override
    def find(self, video: str) -> Path | None:
        """Path of a video by its name, or by the name in the map file."""
        return self.folder.video(video) or self._mapped(video)

    def _mapped(self, video: str) -> Path | None:
        if self._map is None:
            path = self.folder.annotations("map_vid_vidorID.json")
            self._map = {} if path is None else read_json(path, dict)
        name = self._map.get(video)
        return self.folder.video(name) if isinstance(name, str) else None


class PerceptionTest(RowsDataset):
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
    annotations: ClassVar = {
        "validation": (
            "mc_question_valid.json", "all_valid.json", "*mc_question*val*.json", "*valid*.json",
        ),
    }  # fmt: skip
    fields = ("id", "question", "options", "answer_id", "area", "reasoning")

    @override
    def read(self, split: Split) -> list[Item]:
        path = self.files(split)[0]
        items = []
        for video, about in read_json(path, dict).items():
            rows = self.checked(_questions(path.name, video, about), self.fields)
            found = (self.item(row) for row in rows)
            items += [replace(one, id=f"{video}_{one.id}", video=video) for one in found]
        return items

    @override
    def item(self, row: AnnotationRow) -> Item:
        options = row.texts("options")
        return Item(
            id=row.text("id"),
            video="",
            question=f"{row.text('question')}\n{lettered(options)}\n{_LETTER_ALONE}",
            answer=LETTERS[row.index("answer_id", len(options))],
            kind=row.text("area"),
            label=row.text("reasoning"),
            options=options,
        )


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


class VideoDC(RowsDataset):
    """Detailed captions of 499 videos; without a judge the score is ROUGE-L."""

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

    annotations = _in_any_format("test", "test-*", "video*caption*", "video_dc*", "videodc*")
    fields = ("video_name", "question", "answer")

    @override
    def item(self, row: AnnotationRow) -> Item:
        video = without_suffix(row.text("video_name"))
        return Item(video, video, row.text("question"), row.text("answer"), "description", "")

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by ROUGE-L F1 against the reference."""
        said = answer_of(said)
        return Score(False, value=rouge_l(item.answer, said), parsed=bool(said.strip()))


_DURATIONS = ("short", "medium", "long")
_TASK = (
    "Select the best answer to the following multiple-choice question based on the video and the "
    "subtitles. Respond with only the letter (A, B, C, or D) of the correct option."
)
_HEAD = "This video's subtitles are listed below: \n"


class VideoMME(RowsDataset):
    """The benchmark; see `Dataset`. `by_type` is its task types, `by_label` the durations."""

    group: ClassVar[str] = "videomme"
    about: ClassVar[About] = About(
        title="Video-MME, without subtitles",
        splits=("test",),
        questions=2700,
        videos=900,
        needs="test-*.parquet (or its rows as test.jsonl, .json or .csv), and the videos by their "
        "YouTube names (videoID)",
        source="https://huggingface.co/datasets/lmms-lab/Video-MME",
        bytes=100_000_000_000,
    )
    annotations = _in_any_format("test-*", "test", "videomme*", "video-mme*", "Video-MME*")
    fields = ("videoID", "question_id", "duration", "task_type", "question", "options", "answer")
    # options as Python writes a list, as in the code of the DyCoke paper, in place of one per line
    options_as_list: bool = False

    @override
    def edition(self, split: Split) -> str:
        return super().edition(split) + ("-list" if self.options_as_list else "")

    def prompt(self, video: str, question: str) -> str:
        """Complete prompt text of a question."""
        return f"{_TASK}\n{question}\n\n{_LETTER_ALONE}"

    @override
    def item(self, row: AnnotationRow) -> Item:
        options, video = row.texts("options"), row.text("videoID")
        listed = str(list(options)) if self.options_as_list else "\n".join(options)
        return Item(
            id=row.text("question_id"),
            video=video,
            question=self.prompt(video, f"{row.text('question')}\n{listed}"),
            answer=row.one_of("answer", [*LETTERS[: len(options)]]),
            kind=row.text("task_type"),
            label=row.one_of("duration", _DURATIONS),
            options=options,
        )


class VideoMMEWithSubtitles(VideoMME):
    """Video-MME with the subtitles at 32 frames in front of each question."""

    group: ClassVar[str] = "videomme_w_subtitle"
    about: ClassVar[About] = replace(
        VideoMME.about,
        title="Video-MME, with subtitles",
        needs=f"{VideoMME.about.needs}, and subtitle/*.srt",
    )

    def __init__(self, folder: Path, task: str | None = None) -> None:
        super().__init__(folder, task)
        self._lines: dict[str, str] = {}

    @override
    def files(self, split: Split) -> list[Path]:
        """Annotations and subtitle files, since subtitles are part of the prompts."""
        return [*super().files(split), *self.folder.subtitles.values()]

    @override
    def notes(self) -> list[str]:
        """Warnings about missing and unused subtitles."""
        notes = []
        if not self.folder.subtitles:
            notes.append(f"{self.name}: there is no .srt file, so no question has subtitles")
        unused = [video for video, lines in self._lines.items() if not lines]
        if unused:
            notes.append(
                f"{self.name}: no line counts of the subtitles of {len(unused)} of "
                f"{len(self._lines)} videos (such as {display_name(unused[0])}): only text in "
                "Video-MME's font tag, at one of 32 frames, does"
            )
        return notes

    @override
    def prompt(self, video: str, question: str) -> str:
        if video not in self._lines:
            self._lines[video] = self._subtitles_of(video)
        return f"{_HEAD}{self._lines[video]}\n{_TASK}\n{question}\nThe best answer is:"

    def _subtitles_of(self, video: str) -> str:
        file, path = self.find(video), self.folder.subtitles.get(video)
        if file is None or path is None:
            return NONE
        try:
            return videomme_subtitles(path, file)
        except VideoError:  # reported when the question is run
            return NONE

"""Video-MME, without and with subtitles. https://arxiv.org/abs/2405.21075

Prompts are those of lmms-eval, which mention subtitles even in the variant without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from dycoke_cli.errors import VideoError
from dycoke_cli.evaluation.annotations import ROW_FILES, AnnotationRow, read_rows
from dycoke_cli.evaluation.dataset import About, Item, Rule, Score, Split
from dycoke_cli.evaluation.folder import FolderDataset
from dycoke_cli.evaluation.scoring.choices import LETTERS, score_choice
from dycoke_cli.evaluation.scoring.lmms_rules import LMMS_EVAL, videomme
from dycoke_cli.evaluation.videomme_subtitles import NONE, videomme_subtitles
from dycoke_cli.unicode import display_name

_STEMS = ("test-*", "test", "videomme*", "video-mme*", "Video-MME*")
_FIELDS = ("videoID", "question_id", "duration", "task_type", "question", "options", "answer")
_ALSO = ("video_id", "domain", "sub_category", "url")
_DURATIONS = ("short", "medium", "long")
_TASK = (
    "Select the best answer to the following multiple-choice question based on the video and the "
    "subtitles. Respond with only the letter (A, B, C, or D) of the correct option."
)
_ASK = "\nAnswer with the option's letter from the given choices directly."
_HEAD = "This video's subtitles are listed below: \n"
_NEEDS = (
    "test-*.parquet (or its rows as test.jsonl, .json or .csv), and the videos by their YouTube "
    "names (videoID)"
)


class VideoMME(FolderDataset):
    """The benchmark; see `Dataset`. `by_type` is its task types, `by_label` the durations."""

    group: ClassVar[str] = "videomme"
    about: ClassVar[About] = About(
        title="Video-MME, without subtitles",
        splits=("test",),
        questions=2700,
        videos=900,
        needs=_NEEDS,
        source="https://huggingface.co/datasets/lmms-lab/Video-MME",
        bytes=100_000_000_000,
    )
    rules: ClassVar[Mapping[str, Rule]] = {LMMS_EVAL: videomme}
    # options as Python writes a list, as in the code of the DyCoke paper, in place of one per line
    options_as_list: bool = False

    @override
    def files(self, split: Split) -> list[Path]:
        return [self.required(*(stem + suffix for suffix in ROW_FILES for stem in _STEMS))]

    @override
    def edition(self, split: Split) -> str:
        return super().edition(split) + ("-list" if self.options_as_list else "")

    @override
    def read(self, split: Split) -> list[Item]:
        return [
            self._item(row) for row in self.checked(read_rows(self.files(split)[0]), _FIELDS, _ALSO)
        ]

    @override
    def find(self, video: str) -> Path | None:
        return self.folder.video(video)

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by the chosen letter."""
        return score_choice(item, said)

    def prompt(self, video: str, question: str) -> str:
        """Complete prompt text of a question."""
        return f"{_TASK}\n{question}\n{_ASK}"

    def _item(self, row: AnnotationRow) -> Item:
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
    about: ClassVar[About] = About(
        title="Video-MME, with subtitles",
        splits=("test",),
        questions=2700,
        videos=900,
        needs=f"{_NEEDS}, and subtitle/*.srt",
        source="https://huggingface.co/datasets/lmms-lab/Video-MME",
        bytes=100_000_000_000,
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
        """See `FolderDataset.notes`; also warns about missing and unused subtitles."""
        notes = super().notes()
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

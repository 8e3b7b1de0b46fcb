"""Interface of a benchmark: questions about videos, and a scoring rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from dycoke_cli.video.pictures import Rendered
    from dycoke_cli.video.sampling import Sampling

Split = Literal["validation", "test"]

ROW_FILES = (".parquet", ".json", ".jsonl", ".csv")
"""Suffixes of annotation files with a row for each question."""


@dataclass(frozen=True)
class Item:
    """Question of a benchmark.

    Args:
        id: unique in the split.
        video: name of the video.
        question: the complete prompt text, including options and subtitles.
        answer: the reference answer.
        kind: type of the question, such as "colour"; key of `by_type`.
        label: label of the video, such as "dynamic", or a broader type; key of `by_label`. Empty if
            the benchmark has none.
        history: earlier (question, answer) pairs about the video, for a follow-up question.
        options: options in the order of their letters; empty for an open-ended question.
        start_s: start of the relevant part of the video in seconds; None for the whole video.
        end_s: end of the part in seconds.
        picture_fps: frame rate of a video stored as a folder of images; None if unknown.
    """

    id: str
    video: str
    question: str
    answer: str
    kind: str
    label: str
    history: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    start_s: float | None = None
    end_s: float | None = None
    picture_fps: float | None = None

    def sampled(self, sampling: Sampling) -> Sampling:
        """Sampling restricted to the part of the video that the question is about."""
        if self.picture_fps is not None:
            sampling = replace(sampling, picture_fps=self.picture_fps)
        if self.start_s is None:
            return sampling
        return replace(sampling, start_s=self.start_s, end_s=self.end_s)


@dataclass(frozen=True)
class Score:
    """Score of an answer.

    Args:
        right: whether it is correct; an unparsable answer isn't.
        parts: additional measures of the question's type, each from 0 to 1, such as the share of
            events that a description mentions.
        parsed: whether it could be parsed.
        value: graded score from 0 to 1; None if the metric is accuracy (1 if correct, otherwise 0).
    """

    right: bool
    parts: Mapping[str, float] = field(default_factory=dict)
    parsed: bool = True
    value: float | None = None


Rule = Callable[[Item, str], Score]
"""Scoring rule: from a question and an answer to a score."""

ACCURACY = "accuracy"
"""Metric of a benchmark whose answers are correct or incorrect."""


@dataclass(frozen=True)
class About:
    """Description of a benchmark; all but `metric`, `macro` and `judge` is informative only.

    Args:
        title: name in the literature.
        splits: available splits; results are reported on the first.
        questions: number of questions of that split.
        videos: number of videos of that split.
        needs: files that the folder must contain; empty for a bundled benchmark.
        source: place of publication.
        bytes: approximate size of the videos; None if unknown.
        metric: metric of the scores.
        macro: whether the mean over question types is reported in addition to the overall mean.
        judge: key in `judge.PROMPTS` of the prompt by which an LLM grades open answers; empty if no
            judge is needed.
    """

    title: str
    splits: tuple[Split, ...]
    questions: int
    videos: int
    needs: str
    source: str
    bytes: int | None = None
    metric: str = ACCURACY
    macro: bool = False
    judge: str = ""


class Dataset(Protocol):
    """Benchmark: questions, videos and scoring rule."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def about(self) -> About:
        """Description, including the splits."""

    def edition(self, split: Split) -> str:
        """Version of the data; differs whenever a question or a video differs.

        Args:
            split: one of `about.splits`.

        Raises:
            UsageError: see `items`.
        """

    def items(self, split: Split, limit_videos: int | None) -> list[Item]:
        """Questions of a split, grouped by video.

        Args:
            split: one of `about.splits`.
            limit_videos: number of videos, from a fixed random order; None for all.

        Raises:
            UsageError: annotations are missing, or not those of this benchmark.
        """

    def notes(self) -> list[str]:
        """Warnings about the files that `items` has read."""

    def missing(self, videos: Iterable[str]) -> list[str]:
        """Videos whose file doesn't exist and can't be generated.

        Args:
            videos: as in `Item.video`.
        """

    def file(self, video: str) -> Path | Rendered:
        """Path of a video's file, which is generated if necessary; a missing one doesn't exist.

        A rendered video has no file, and is returned itself.

        Args:
            video: as in `Item.video`.
        """

    @staticmethod
    def score(item: Item, said: str) -> Score:
        """Score the answer `said` to `item`."""

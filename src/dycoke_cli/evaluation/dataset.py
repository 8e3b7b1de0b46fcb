"""What a benchmark is: questions about videos, and a rule that says which answers are right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from dycoke_cli.video import Sampling

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Args:
        id: unique in the split.
        video: the video that it is about.
        question: all that is put to the model, options and subtitles included.
        answer: the right one.
        kind: of the question, such as "colour"; the key of `by_type`.
        label: of the video, such as "dynamic", or of a wider kind; the key of `by_label`. Empty
            where the benchmark has none.
        history: earlier questions about the video with their answers, for a follow-up question.
        options: to choose from, in the order of their letters; empty for a free answer.
        start_s: where the part of the video that is asked about begins, in seconds; None is the
            whole video.
        end_s: where it ends.
        picture_fps: frames per second of a video that is a folder of pictures; None where nothing
            is known of that.
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
        """The frames that are read for the question, of the part of the video that it is about."""
        if self.picture_fps is not None:
            sampling = replace(sampling, picture_fps=self.picture_fps)
        if self.start_s is None:
            return sampling
        return replace(sampling, start_s=self.start_s, end_s=self.end_s)


@dataclass(frozen=True)
class Score:
    """What an answer is worth.

    Args:
        right: whether it counts as right; what can't be understood is wrong.
        parts: measures of its own that the kind has, each from 0 to 1, such as the share of the
            events that a description told.
        parsed: whether it could be understood.
        value: from 0 to 1, where answers are graded by the benchmark's metric; None is 1 for a
            right answer and 0 for a wrong one.
        counted: whether it is in the denominator.
    """

    right: bool
    parts: Mapping[str, float] = field(default_factory=dict)
    parsed: bool = True
    value: float | None = None
    counted: bool = True


Rule = Callable[[Item, str], Score]
"""What an answer to a question is worth."""

OWN_RULE = "dycoke"
"""The name of each benchmark's `Dataset.score`."""

ACCURACY = "accuracy"
"""The metric of a benchmark whose answers are right or wrong."""


@dataclass(frozen=True)
class About:
    """What a benchmark is; all but `metric`, `macro` and `judge` is for a person.

    Args:
        title: its name in the literature.
        splits: that it has; the first is the one that results are reported on.
        questions: of that split.
        videos: of that split.
        needs: the files that its folder must hold; empty where the benchmark is bundled.
        source: where it is published.
        bytes: about how large its videos are, None where that isn't known.
        metric: what the value of an answer is.
        macro: whether the mean over kinds of question is reported beside that over questions.
        judge: by which of the prompts of `judge.PROMPTS` an LLM may grade the answers; empty where
            they are right or wrong without one.
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
    """A benchmark."""

    @property
    def name(self) -> str:
        """On the command line."""

    @property
    def about(self) -> About:
        """What it is, and which splits it has."""

    def edition(self, split: Split) -> str:
        """Changes whenever a question or a video does.

        Args:
            split: one of `about.splits`.

        Raises:
            UsageError: see `items`.
        """

    def items(self, split: Split, limit_videos: int | None) -> list[Item]:
        """The questions of a split, those about one video next to each other.

        Args:
            split: one of `about.splits`.
            limit_videos: of the first so many videos only (they stand in random order).

        Raises:
            UsageError: annotations that aren't there, or aren't those of this benchmark.
        """

    def notes(self) -> list[str]:
        """What a person should know of the files that `items` has read, as sentences."""

    def missing(self, videos: Iterable[str]) -> list[str]:
        """Those of some videos whose file isn't there, and can't be made.

        Args:
            videos: as in `Item.video`.
        """

    def file(self, video: str) -> Path:
        """The file of a video, made if need be; it isn't there where it is missing.

        Args:
            video: as in `Item.video`.
        """

    @staticmethod
    def score(item: Item, said: str) -> Score:
        """What the answer `said` to `item` is worth, by the rule of this program."""

"""What a benchmark is: questions about videos, and a rule that says which answers are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

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
        label: of the video, such as "dynamic"; the key of `by_label`.
        history: earlier questions about the video with their answers, for a follow-up question.
    """

    id: str
    video: str
    question: str
    answer: str
    kind: str
    label: str
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Score:
    """What an answer is worth.

    Args:
        right: whether it counts as right; what can't be understood is wrong.
        parts: measures of its own that the kind has, each from 0 to 1, such as the share of the
            events that a description told.
    """

    right: bool
    parts: Mapping[str, float] = field(default_factory=dict)


class Dataset(Protocol):
    """A benchmark."""

    @property
    def name(self) -> str:
        """On the command line."""

    @property
    def edition(self) -> str:
        """Changes whenever a question, a video or the rule of scoring does."""

    def items(self, split: Split, limit_videos: int | None) -> list[Item]:
        """The questions of a split, those about one video next to each other.

        Args:
            split: "validation" for every choice that is made, "test" for what is reported.
            limit_videos: of the first so many videos only (they stand in random order).
        """

    def file(self, video: str) -> Path:
        """The file of a video, made if need be.

        Args:
            video: as in `Item.video`.
        """

    def score(self, item: Item, said: str) -> Score:
        """What the answer `said` to `item` is worth."""

"""What a question is."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "description", "order", "action", "direction", "position", "colour", "shape", "count",
    "existence", "needle", "letter", "subtitles", "follow-up", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Something that a question says of the video.

    Attributes:
        text: a stretch of the question, word for word.
        true: whether it is so.
    """

    text: str
    true: bool


@dataclass(frozen=True)
class Question:
    """A question and its one right answer.

    Attributes:
        kind: one of KINDS.
        text: as a person types it, with the options and subtitles that belong to it.
        answer: the right answer, to the letter.
        claims: what the question says of the video, in the order of the text.
        earlier: questions and answers about the same video that came before.
    """

    kind: str
    text: str
    answer: str
    claims: tuple[Claim, ...] = ()
    earlier: tuple[tuple[str, str], ...] = ()

"""The listener to whatever runs, which may end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dycoke_cli.answer.answer import Answer


@dataclass
class Counts:
    """How far a run is.

    Args:
        videos: in all.
        questions: in all.
        videos_skipped: none of whose questions had to be asked.
        videos_answered: all of whose other questions have a line now.
        skipped: questions that an earlier run has answered.
        skipped_failed: questions that failed in an earlier run, and weren't asked again.
        earlier: why the first few of them failed.
        answered: questions that this run has answered.
        refused: that weren't put to the model, which can't understand them.
        failed: questions that failed in this run.
        tokens: that were written.
    """

    videos: int
    questions: int
    videos_skipped: int = 0
    videos_answered: int = 0
    skipped: int = 0
    skipped_failed: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    tokens: int = 0
    earlier: list[str] = field(default_factory=list)

    @property
    def videos_done(self) -> int:
        """Videos all of whose questions have a line."""
        return self.videos_skipped + self.videos_answered

    @property
    def done(self) -> int:
        """Questions that have a line."""
        return self.skipped + self.skipped_failed + self.added

    @property
    def added(self) -> int:
        """Questions that have got a line in this run."""
        return self.answered + self.refused + self.failed

    @property
    def standing(self) -> int:
        """Questions whose line is an error."""
        return self.skipped_failed + self.failed


class Listener:
    """Hears about progress; this base class ignores it.

    Attributes:
        stopping: the run shall end. An engine looks at it before it begins anything new, and at
            least every second while it waits; what is under way it finishes.
        ready: the engine has loaded its model; until then an interrupt needn't wait for anything.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.ready = False

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        """A stage, such as "load", is so far; a total of 0 is unknown."""

    def progress(self, counts: Counts) -> None:
        """A run of many questions is so far."""

    def warning(self, sentence: str) -> None:
        """Something that a person should know now."""

    def failed(self, reason: str) -> None:
        """A question has no answer."""

    # Of a conversation about one video.

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Takes the text of an answer as it is generated; None where only the whole counts."""
        return None

    def begin(self, question: str) -> None:
        """A question is asked."""

    def begin_comparison(self) -> None:
        """The answer is complete; now the same is asked without compression."""

    def finish(self, answer: Answer) -> None:
        """All that there is to say about the question."""

    def advise(self, sentence: str) -> None:
        """What would have been faster, behind the first answer that took long."""

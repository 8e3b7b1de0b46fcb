"""Receives the progress of a run, and can stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer
    from dycoke_cli.ask import Event


@dataclass
class RunCounts:
    """Progress of a run, in questions."""

    questions: int  # all questions
    clips: int = 0  # videos that they are about
    skipped: int = 0  # questions that an earlier run answered
    skipped_failed: int = 0  # questions that failed in an earlier run and aren't retried
    answered: int = 0  # questions that this run answered
    failed: int = 0  # questions that failed in this run
    tokens: int = 0  # generated tokens
    # videos whose answers have warnings, of this run or an earlier one
    warned: dict[str, None] = field(default_factory=dict)
    # of all questions, in the order in which they are asked, each with its line (`Ask.line`)
    keys: dict[str, int] = field(default_factory=dict)

    @property
    def given(self) -> list[str]:
        """Keys of all questions, in the order in which the user gave them."""
        return sorted(self.keys, key=self.keys.__getitem__)

    @property
    def done(self) -> int:
        """Questions that have a result."""
        return self.skipped + self.skipped_failed + self.added

    @property
    def added(self) -> int:
        """Questions that this run added a result for."""
        return self.answered + self.failed

    @property
    def standing(self) -> int:
        """Questions whose result is an error."""
        return self.skipped_failed + self.failed


class Listener:
    """Receives progress; this base class ignores it.

    Attributes:
        stopping: the run is to end. An engine checks this before it begins anything new, and at
            least once per second while it waits. It finishes the answers under way.
        ready: the engine has loaded its model. Until then an interrupt ends the run at once.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.ready = False

    def interrupt(self) -> None:
        """End the run after the answers under way: the user pressed Ctrl-C once."""
        self.stopping = True

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Progress of a stage such as "load"; a total of 0 is unknown."""

    def progress(self, counts: RunCounts) -> None:
        """Progress of a run of many questions."""

    def warning(self, sentence: str) -> None:
        """Warning for the user, shown at once."""

    def note(self, sentence: str) -> None:
        """Note for the user, shown at once."""

    def take(self, event: Event) -> None:
        """An event of a question, before its last one."""
        from dycoke_cli.ask import Progress, Text, Warn  # a help page doesn't need it

        if isinstance(event, Progress) and event.stage == "comparison":
            self.begin_comparison()
        elif isinstance(event, Progress):
            self.stage(event.stage, event.done, event.total)
        elif isinstance(event, Warn):
            self.warning(event.text)
        elif isinstance(event, Text) and self.on_text is not None:
            self.on_text(event.text)

    def failed(self, reason: str) -> None:
        """A question failed."""

    # The following are called in a conversation about one video only.

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Receives the text of an answer as it is generated; None if only the whole is needed."""
        return None

    def begin_video(self, name: str) -> None:
        """The answers that follow are about another video (`watch` of a folder)."""

    def look_at(self, start_s: float, end_s: float) -> None:
        """The stages that follow are about this part of the video; times in seconds."""

    def begin_part(self, start_s: float, end_s: float) -> None:
        """The answers that follow are about this part of the video (`--every`)."""

    def begin(self, question: str) -> None:
        """A question is asked."""

    def begin_comparison(self) -> None:
        """The answer is complete, and the same question is asked without compression."""

    def finish(self, answer: Answer) -> None:
        """The complete answer."""

"""Progress, notes and warnings on stderr, of whatever runs."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from dycoke_cli.cli.render import console
from dycoke_cli.cli.render.progress import Progress
from dycoke_cli.runs.listener import Counts, Listener


class View(Listener):
    """Shows the current stage, and what else is good to know.

    Args:
        quiet: shows nothing.
        note: shown when all was found to be right: before the first answer.
        hidden: see `Progress`.
    """

    def __init__(self, quiet: bool, note: str | None = None, hidden: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._quiet = quiet
        self._note = note
        self._told = ""
        self._line = Progress(quiet, hidden)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take all progress away."""
        self._line.stop()

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Show how far a stage is."""
        if stage in ("prefill", "answers"):
            # From here on nothing is refused any more.
            self.announce()
        self._line.update(stage, done, total)

    def progress(self, counts: Counts) -> None:
        """Show how many questions have an answer."""
        self.stage("answers", counts.done, counts.questions)

    def announce(self) -> None:
        """Show what has to be said before the first answer."""
        if self._note is not None:
            self.note(self._note)
            self._note = None

    def note(self, sentence: str) -> None:
        """Show what is good to know."""
        if not self._quiet:
            self.stop()
            console.note(sentence)

    def warning(self, sentence: str) -> None:
        """Show what a person should know now."""
        if not self._quiet:
            self.stop()
            console.warning(sentence)

    def failed(self, reason: str) -> None:
        """Show why a question has no answer, once for all questions about a video."""
        if not self._quiet and reason != self._told:
            self.stop()
            console.failed(reason)
        self._told = reason

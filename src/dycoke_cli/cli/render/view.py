"""Listener that shows progress, notes and warnings of a run on stderr."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from dycoke_cli.cli.render import console
from dycoke_cli.cli.render.progress import ProgressLine
from dycoke_cli.runs.listener import Listener, RunCounts
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer


ENDING = "Ending after the answers under way; Ctrl-C again ends at once"


class View(Listener):
    """Shows the current stage, notes and warnings.

    Attributes:
        on_answer: gets each answer of a conversation.
    """

    def __init__(self, quiet: bool, note: str | None = None, hidden: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.on_answer: Callable[[Answer], None] = lambda answer: None
        self._quiet = quiet
        self._note = note
        self._last_failure = ""
        self._line = ProgressLine(quiet, hidden)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def interrupt(self) -> None:
        """Say what goes on; a bar on a terminal says it by itself."""
        super().interrupt()
        if not (self._quiet or console.animates()):
            # By the system: this is a signal's handler, whose caller may be within `sys.stderr`.
            with suppress(OSError):
                os.write(2, f"{ENDING}\n".encode())

    def stop(self) -> None:
        """Remove the progress display."""
        self._line.stop()

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Show the progress of a stage."""
        if stage in ("prefill", "answers"):
            # All checks are done by now: the note isn't followed by a usage error.
            self.announce()
        self._line.update(stage, done, total)

    def look_at(self, start_s: float, end_s: float) -> None:
        """Show the part of the video in front of each stage."""
        self._line.prefix = f"{format_part(start_s, end_s)}: "

    def progress(self, counts: RunCounts) -> None:
        """Show the number of answered questions."""
        self.stage("answers", counts.done, counts.questions)

    def announce(self) -> None:
        """Show the note, if it wasn't shown yet."""
        if self._note is not None:
            self.note(self._note)
            self._note = None

    def note(self, sentence: str) -> None:
        """Show a note."""
        if not self._quiet:
            self.stop()
            console.note(sentence)

    def warning(self, sentence: str) -> None:
        """Show a warning."""
        if not self._quiet:
            self.stop()
            console.warning(sentence)

    def failed(self, reason: str) -> None:
        """Show why a question failed; a repeated reason, as for one video, is shown once."""
        if not self._quiet and reason != self._last_failure:
            self.stop()
            console.failed(reason)
        self._last_failure = reason

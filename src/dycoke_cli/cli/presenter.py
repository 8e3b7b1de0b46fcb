"""How a conversation is shown: as text while it comes, or as JSON when it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from dycoke_cli.cli import output, render
from dycoke_cli.json_schema import ABSENT
from dycoke_cli.result import Answer


class Presenter:
    """Events of a conversation. This base class shows the progress and nothing else.

    Args:
        progress: the line on the terminal.
        note: shown before the first answer.
    """

    def __init__(self, progress: render.Progress, note: str | None = None) -> None:
        self._progress = progress
        self._note = note

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Takes the text of an answer as it is generated; None where only the whole counts."""
        return None

    def progress(self, stage: str, done: int, total: int) -> None:
        """Progress of a stage; a total of 0 is unknown."""
        if stage == "prefill":
            # From here on nothing is refused any more.
            self._announce()
        self._progress.update(stage, done, total)

    def _announce(self) -> None:
        """Say what has to be said before the answer."""
        if self._note is not None:
            self._progress.stop()
            render.note(self._note)
            self._note = None

    def warn(self, warning: str) -> None:
        """Say what can't wait for the answer, whose document has it, too."""

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run something that isn't measured."""
        self.progress("warm_up", 0, 0)
        run()

    def begin(self, question: str) -> None:
        """A question is asked."""

    def begin_comparison(self) -> None:
        """The answer is complete; now the same is asked without compression."""

    def finish(self, answer: Answer) -> None:
        """All that there is to say about the question."""

    def advise(self, sentence: str) -> None:
        """What would have been faster, for somebody who waited."""


class AsText(Presenter):
    """Answers stream to stdout; progress, warnings and figures go to stderr.

    Args:
        questions: how many there are.
        quiet: leave stderr to errors.
        note: see `Presenter`.
        stats: show the panel with all figures in place of one line.
    """

    def __init__(
        self, questions: int, quiet: bool, note: str | None = None, stats: bool = False
    ) -> None:
        # Where the answer streams to the screen, it is its own progress.
        self._hidden = ("decode",) if sys.stdout.isatty() else ()
        super().__init__(render.Progress(quiet, self._hidden), note)
        self._question: str | None = None
        self._several = questions > 1
        self._quiet = quiet
        self._stats = stats
        self._answer = output.AnswerText(single_line=self._several)
        self._warned: set[str] = set()
        self._waiting_since = time.monotonic()
        self._waited_s: float | None = None
        self._warm_up_s = 0.0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is not None and not issubclass(kind, OSError):
            self._answer.abandon()

    @property
    def on_text(self) -> Callable[[str], None]:
        """Takes the text of an answer as it is generated."""
        return self._add

    def _add(self, piece: str) -> None:
        self._announce()  # of an answer without any prefill
        if sys.stdout.isatty():
            self._progress.stop()
        self._answer.add(piece)

    def warn(self, warning: str) -> None:
        """Say it once."""
        if self._quiet or warning in self._warned:
            return
        self._progress.stop()
        self._warned.add(warning)
        render.warning(warning)

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run something that isn't measured, which takes time of those who wait."""
        started = time.monotonic()
        super().warm_up(run)
        self._warm_up_s = time.monotonic() - started

    def begin(self, question: str) -> None:
        """Show the question where several answers follow each other."""
        if self._several and not self._quiet:
            self._question = question

    def _announce(self) -> None:
        super()._announce()
        if self._question is not None:
            self._progress.stop()
            render.question(self._question)
            self._question = None

    def begin_comparison(self) -> None:
        """End the answer; what follows is only measured."""
        self._waited_s = time.monotonic() - self._waiting_since
        self._progress.stop()
        self._answer.end()
        self._progress.hidden = ()
        self._progress.prefix = "Baseline: "

    def finish(self, answer: Answer) -> None:
        """End the answer; then come the warnings and the figures."""
        self._progress.stop()
        self._progress.hidden = self._hidden
        self._progress.prefix = ""
        if answer.compared_to is ABSENT:
            self._waited_s = time.monotonic() - self._waiting_since
            self._answer.end()
        self._waiting_since = time.monotonic()
        if self._quiet:
            return
        for warning in answer.warnings:
            self.warn(warning)
        assert self._waited_s is not None
        render.statistics(answer, self._waited_s, self._warm_up_s, self._stats)
        self._warm_up_s = 0.0

    def advise(self, sentence: str) -> None:
        """Say it below the figures."""
        if not self._quiet:
            render.note(sentence)


class AsJson(Presenter):
    """One object per question on stdout; on stderr nothing but the progress, on a terminal.

    Args:
        waiting: what the objects still to come are about; each that was written is removed.
        quiet: no progress either.
        note: see `Presenter`.
    """

    def __init__(self, waiting: list[dict[str, Any]], quiet: bool, note: str | None = None) -> None:
        super().__init__(render.Progress(quiet), note)
        self._waiting = waiting

    def finish(self, answer: Answer) -> None:
        """Write the object."""
        self._progress.stop()
        output.write_json(answer.to_dict())
        del self._waiting[0]

"""Presentation of a conversation: streamed text, or one JSON object per answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.cli import output, render
from dycoke_cli.cli.render.units import likelihood, time_ranges
from dycoke_cli.cli.render.view import View
from dycoke_cli.unicode import display_name
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer


class AsText(View):
    """Streams answers to stdout; progress, warnings and statistics go to stderr.

    Attributes:
        more: flag or command that shows the panel, named in that line.
    """

    more = "--stats"

    def __init__(
        self, questions: int, quiet: bool, note: str | None = None, stats: bool = False
    ) -> None:
        # A streaming answer on the screen needs no progress of the decoding.
        self._hidden = ("decode",) if sys.stdout.isatty() else ()
        super().__init__(quiet, note, self._hidden)
        self._question: str | None = None
        self._several = questions > 1
        self._stats = stats
        self._answer = output.AnswerText(single_line=self._several)
        self._in_parts = False
        self._video = ""  # in front of the times of a part
        self._warned: set[str] = set()
        self._waiting_since = time.monotonic()
        self._waited_s: float | None = None
        self._warming_since: float | None = None
        self._warm_up_s = 0.0

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        # After an OSError, such as a closed pipe, stdout can't be written.
        if raised[1] is not None and not isinstance(raised[1], OSError):
            self._answer.abandon()

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Callback for the text of an answer as it is generated."""
        return self._add

    def _add(self, text: str) -> None:
        self.announce()  # an answer of a server comes without a prefill stage
        if sys.stdout.isatty():
            self.stop()
        self._answer.add(text)

    def warning(self, sentence: str) -> None:
        """Show a warning, once."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            super().warning(sentence)

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Show the progress of a stage; the time of the warm-up is part of the statistics."""
        if stage == "warm_up":
            self._warming_since = time.monotonic()
        super().stage(stage, done, total)

    def begin_video(self, name: str) -> None:
        """Label the lines of the answers with the name of the clip, too."""
        self._video = f"{display_name(name)}  "

    def begin_part(self, start_s: float, end_s: float) -> None:
        """Label the lines of the answers with the times of the part."""
        self._in_parts = True
        label = f"{self._video}{format_part(start_s, end_s)}  "
        self._answer = output.AnswerText(single_line=True, label=label)

    def begin(self, question: str) -> None:
        """Prepare to show the question, if there are several."""
        if self._warming_since is not None:
            self._warm_up_s = time.monotonic() - self._warming_since
            self._warming_since = None
        if self._several and not self._quiet:
            self._question = question

    def announce(self) -> None:
        """Show the note and the question before an answer."""
        super().announce()
        if self._question is not None:
            self.stop()
            render.question(self._question)
            self._question = None

    def begin_comparison(self) -> None:
        """End the answer; the baseline's answer that follows isn't streamed."""
        self._waited_s = time.monotonic() - self._waiting_since
        self.stop()
        self._answer.end()
        self._line.hidden = ()
        self._line.prefix = "Baseline: "

    def finish(self, answer: Answer) -> None:
        """End the answer, and show its warnings and statistics."""
        self.stop()
        self._line.hidden = self._hidden
        self._line.prefix = ""
        if answer.compared_to is ABSENT:
            self._waited_s = time.monotonic() - self._waiting_since
            if answer.when is not ABSENT:
                self._answer.add(time_ranges(answer.when))
            # A choice alone would hide that another one was as likely.
            elif (likely := likelihood(answer)) is not None:
                self._answer.add(f" ({likely})")
            self._answer.end()
        self._waiting_since = time.monotonic()
        if self._quiet:
            return
        for warning in answer.warnings:
            self.warning(warning)
        assert self._waited_s is not None
        # A line of figures for each part would hide the answers.
        if self._in_parts and not self._stats:
            return
        render.statistics(answer, self._waited_s, self._warm_up_s, self._stats, self.more)
        self._warm_up_s = 0.0


class AsJson(View):
    """Writes one object per question to stdout, and progress to stderr on a terminal."""

    def __init__(self, waiting: list[dict[str, Any]], quiet: bool, note: str | None = None) -> None:
        super().__init__(quiet, note)
        self._waiting, self._each = waiting, [*waiting]

    def warning(self, sentence: str) -> None:
        """Ignored: the object has the warnings."""

    def begin_part(self, start_s: float, end_s: float) -> None:
        """Each part has an object for each question."""
        self._waiting[:] = [{**one, "start": start_s, "end": end_s} for one in self._each]

    def finish(self, answer: Answer) -> None:
        """Write the object."""
        self.stop()
        output.write_json(answer.to_dict())
        del self._waiting[0]

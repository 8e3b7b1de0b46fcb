"""Progress, notes and warnings on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from dycoke_cli.cli.render import console
from dycoke_cli.cli.render.console import animates, note, stderr_console
from dycoke_cli.cli.render.units import count
from dycoke_cli.runs.listener import Listener, RunCounts
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from rich import progress as rich_progress


LINE_EVERY_S = 30.0

_LABELS = {
    "start": "Starting",
    "check": "Checking video {done}/{total}",
    "clip": "Waiting for the next clip",
    "video": "Decoding frame {done}/{total}",
    "speech": "Hearing second {done}/{total}",
    "load": "Loading the model",
    "build": "Building the model with random weights, which takes minutes for billions of them",
    "fetch": "Loading the model, downloading it first if needed",
    "pack": "Quantizing layer {done}/{total}",
    "warm_up": "Warming up",
    "vision": "Encoding frame {done}/{total}",
    "prefill": "Prefill",
    "decode": "Generating",
    "answers": "Answers {done:,}/{total:,}",
    "verdicts": "Verdicts {done:,}/{total:,}",
}
_COUNTED = ("answers", "verdicts")
_LOADING = ("load", "build", "fetch", "pack")


def _bar_and_time() -> tuple[Any, Any]:
    """Two columns: a bar, empty while the total is unknown, and the time that is left."""
    from rich import progress as rich_progress  # slow to import
    from rich.text import Text

    class Determinate(rich_progress.BarColumn):
        def render(self, task: rich_progress.Task) -> Any:
            return Text() if task.total is None else super().render(task)

    return Determinate(bar_width=24), rich_progress.TimeRemainingColumn(compact=True)


class ProgressLine:
    """Line on stderr with the current stage; `stop` removes it.

    A dumb terminal gets a single message about loading. Without redrawing (dumb terminal or no
    terminal), answers and verdicts get a line every half minute.

    Attributes:
        prefix: text in front of each stage.
    """

    def __init__(self, quiet: bool, hidden: Collection[str] = ()) -> None:
        self._quiet = quiet
        self._enabled = not quiet and animates()
        self._announces_loading = not quiet and not self._enabled and sys.stderr.isatty()
        self.hidden = hidden
        self.prefix = ""
        self._first: tuple[float, int] | None = None
        self._counted, self._loading_said = "", self._quiet
        self._printed_at = 0.0
        self._bar: rich_progress.Progress | None = None
        self._task: tuple[str, rich_progress.TaskID] | None = None

    def update(self, stage: str, done: int, total: int) -> None:
        """Show `done` of `total` of a stage; a total of 0 or 1 is indeterminate."""
        if self._announces_loading:
            self._announces_loading = False
            note(_LABELS["load"])
        if not self._enabled:
            if stage in _COUNTED and not self._quiet:
                self._say(stage, done, total)
            # Of many questions it is said at once, for the first answer may take minutes.
            elif stage in _LOADING and self._counted and not self._loading_said:
                self._loading_said = True
                note(_LABELS[stage].format(done=done, total=total))
            return
        if stage in self.hidden:
            self.stop()
            return
        bar = self._bar or self._start()
        label = self.prefix + _LABELS.get(stage, stage).format(done=done, total=total)
        if stage == "decode":
            label += self._rate(done)
            total = 0  # most answers end long before the limit of new tokens
        bar_total = total if total > 1 else None
        if self._task is not None and self._task[0] != stage:
            bar.remove_task(self._task[1])
            self._task = None
        if self._task is None:
            self._task = (stage, bar.add_task(label, total=bar_total, completed=done))
        bar.update(self._task[1], description=label, completed=done, total=bar_total)

    def stop(self) -> None:
        """Remove the line until the next update."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _rate(self, tokens: int) -> str:
        """Number of generated tokens, and their rate since the first."""
        now = time.monotonic()
        # A smaller number of tokens is the start of another answer.
        if self._first is None or tokens <= self._first[1]:
            self._first = now, tokens
        since, before = self._first
        rate = f", {(tokens - before) / (now - since):.1f} tokens/s" if now > since else ""
        return f": {count(tokens)} {'token' if tokens == 1 else 'tokens'}{rate}"

    def _say(self, what: str, done: int, total: int) -> None:
        """Print a progress line: the first at once, then at intervals."""
        now = time.monotonic()
        if self._first is None or self._counted != what:
            self._counted, self._first, self._printed_at = what, (now, done), now
            if done < total:
                note(f"{count(done)} of {count(total)} {what} are there")
        elif now - self._printed_at >= LINE_EVERY_S:
            self._printed_at = now
            since, before = self._first
            minutes = (total - done) * (now - since) / max(1, done - before) / 60
            note(f"{count(done)} of {count(total)} {what}, about {minutes:.0f} min left")

    def _start(self) -> rich_progress.Progress:
        from rich import progress as rich_progress  # takes its time

        self._bar = rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.description}", markup=False),
            *_bar_and_time(),
            console=stderr_console(),
            transient=True,
            redirect_stdout=False,
        )
        self._bar.start()
        return self._bar


ENDING = "Ending after the answers under way; Ctrl-C again ends at once"


class View(Listener):
    """Shows the current stage, notes and warnings."""

    def __init__(self, quiet: bool, note: str | None = None, hidden: tuple[str, ...] = ()) -> None:
        super().__init__()
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

"""How many answers of an evaluation there are: a bar on a terminal, a line now and then off it."""

from __future__ import annotations

import sys
import time

from rich import progress as rich_progress

from dycoke_cli.cli.render.console import note, stderr_console
from dycoke_cli.cli.render.units import count

LINE_EVERY_S = 30.0


class AnswerCount:
    """Shows the answers as they come.

    Args:
        quiet: show nothing.

    Attributes:
        total: how many there will be, once that is known.
    """

    def __init__(self, quiet: bool) -> None:
        self.total = 0
        self._quiet = quiet
        self._bar: rich_progress.Progress | None = None
        self._task = rich_progress.TaskID(0)
        self._first: tuple[float, int] | None = None
        self._said_at = 0.0

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` answers are there."""
        self.total = total
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._update_bar(done, total)
        else:
            self._update_line(done, total)

    def stop(self) -> None:
        """Take the bar away, until the next update."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _update_bar(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = rich_progress.Progress(
                rich_progress.TextColumn("Answers"),
                rich_progress.BarColumn(bar_width=24),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TimeElapsedColumn(),
                rich_progress.TextColumn("left:"),
                rich_progress.TimeRemainingColumn(),
                console=stderr_console(),
                transient=True,
                redirect_stdout=False,
            )
            self._task = self._bar.add_task("answers", total=total, completed=done)
            self._bar.start()
        self._bar.update(self._task, completed=done)

    def _update_line(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._said_at = (now, done), now
            if done < total:
                note(f"{count(done)} of {count(total)} answers are there")
            return
        if now - self._said_at < LINE_EVERY_S:
            return
        self._said_at = now
        started, before = self._first
        minutes = (total - done) * (now - started) / max(1, done - before) / 60
        note(f"{count(done)} of {count(total)} answers, about {minutes:.0f} min left")

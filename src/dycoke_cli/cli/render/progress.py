"""One line on stderr that says how far things are; only where somebody can see it."""

from __future__ import annotations

import sys
from collections.abc import Collection

from rich import progress as rich_progress

from dycoke_cli.cli.render.console import stderr_console

_LABELS = {
    "start": "Starting",
    "video": "Reading frame {done} of {total}",
    "load": "Loading the model",
    "fetch": "Loading the model; the first time it is downloaded",
    "vision": "Looking at frame {done} of {total}",
    "prefill": "Taking in the question",
    "decode": "Writing token {done}",
}


class Progress:
    """Shows the stage at work, and takes itself away when told to stop.

    Args:
        quiet: show nothing.
        hidden: stages during which there is something else to see; may be changed later.

    Attributes:
        prefix: stands in front of each stage.
    """

    def __init__(self, quiet: bool, hidden: Collection[str] = ()) -> None:
        self._enabled = not quiet and sys.stderr.isatty()
        self.hidden = hidden
        self.prefix = ""
        self._bar: rich_progress.Progress | None = None
        self._task: tuple[str, rich_progress.TaskID] | None = None

    def update(self, stage: str, done: int, total: int) -> None:
        """Show `done` of `total` (0 or 1: nothing to measure by) of a stage."""
        if not self._enabled:
            return
        if stage in self.hidden:
            self.stop()
            return
        bar = self._bar or self._start()
        label = self.prefix + _LABELS.get(stage, stage).format(done=done, total=total)
        # Of one thing there is no part that could be shown.
        known = total if total > 1 else None
        if self._task is not None and self._task[0] != stage:
            bar.remove_task(self._task[1])
            self._task = None
        if self._task is None:
            self._task = (stage, bar.add_task(label, total=known))
        bar.update(self._task[1], description=label, completed=done, total=known)

    def stop(self) -> None:
        """Take the line away, until the next update."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _start(self) -> rich_progress.Progress:
        self._bar = rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.TimeRemainingColumn(compact=True),
            console=stderr_console(),
            transient=True,
            redirect_stdout=False,
        )
        self._bar.start()
        return self._bar

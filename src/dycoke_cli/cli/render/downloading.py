"""How much of a model has come: a bar on a terminal, a line off it."""

from __future__ import annotations

import sys
from types import TracebackType

from rich import progress as rich_progress

from dycoke_cli.cli.render.console import note, stderr_console
from dycoke_cli.cli.render.units import size
from dycoke_cli.cli.text import one_line


class Download:
    """Shows a download, for the length of a block.

    Args:
        name: of the model.
        files: how many are missing.
        total: their bytes.
        quiet: show nothing.
    """

    def __init__(self, name: str, files: int, total: int, quiet: bool) -> None:
        self._bar: rich_progress.Progress | None = None
        self._task = rich_progress.TaskID(0)
        if quiet:
            return
        if not sys.stderr.isatty():
            note(f"downloading {name}: {files} files, {size(total)}")
            return
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            rich_progress.TimeRemainingColumn(),
            console=stderr_console(),
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._bar.add_task(one_line(name), total=total)

    def __enter__(self) -> Download:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, come: int) -> None:
        """Show that so many bytes have come."""
        if self._bar is not None:
            self._bar.update(self._task, completed=come)

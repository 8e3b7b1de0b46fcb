"""What `dycoke batch` shows on stderr while it runs."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from dycoke_cli.cli import render
from dycoke_cli.runs.listener import Counts, Listener


class BatchView(Listener):
    """Shows progress, notes and warnings.

    Args:
        quiet: shows nothing.
    """

    def __init__(self, quiet: bool) -> None:
        super().__init__()
        self._quiet = quiet
        self._start = render.Progress(quiet)
        self._run = render.BatchProgress(quiet, lambda: self.stopping)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def starting(self) -> None:
        """Nothing is known yet."""
        self._start.update("start", 0, 0)

    def note(self, sentence: str) -> None:
        """Show what is good to know."""
        if not self._quiet:
            self._stop()
            render.note(sentence)

    def warning(self, sentence: str) -> None:
        """Show a warning."""
        if not self._quiet:
            self._stop()
            render.warning(sentence)

    def loading(self) -> None:
        """Show that the model is being loaded."""
        self._run.stop()
        self._start.update("load", 0, 0)

    def progress(self, counts: Counts) -> None:
        """Show how far the run is."""
        self._start.stop()
        self._run.update(counts)

    def finished(self, counts: Counts) -> None:
        """Say what came of it."""
        self._stop()
        if not self._quiet:
            render.note(render.batch_summary(counts))

    def _stop(self) -> None:
        self._start.stop()
        self._run.stop()

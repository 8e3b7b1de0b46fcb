"""Progress of a batch and of captions: a live view on a terminal, otherwise now and then a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich import progress as rich_progress
from rich.text import Text

from dycoke_cli.answer.caption import words
from dycoke_cli.cli.render.console import animates, stderr_console
from dycoke_cli.cli.render.units import count, counted
from dycoke_cli.cli.render.view import ENDING, LINE_EVERY_S, View
from dycoke_cli.runs.listener import RunCounts
from dycoke_cli.unicode import display_name, one_line
from dycoke_cli.video.sampling import format_time

_BAR = 12
_MEASURED = 5  # answered questions, below which nothing is said of the time left
_AT_ONCE_S = 1.0  # within which results are those of one batch
_NAMED = 3  # of the clips of which something is said


class BatchView(View):
    """View of a batch: questions, failures, speed, and a final summary."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._bar: rich_progress.Progress | None = None
        self._task = rich_progress.TaskID(0)  # equivalent: of no bar yet
        self._counts: RunCounts | None = None
        self._pace: _Pace | None = None
        self._said_at = time.monotonic()

    def stop(self) -> None:
        """Remove the progress display."""
        super().stop()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Show the progress of a stage."""
        self.stop()
        super().stage(stage, done, total)

    def progress(self, counts: RunCounts) -> None:
        """Show the progress of the run."""
        self._counts = counts
        super().stop()
        if self._quiet:
            return
        if self._pace is None:
            self._pace = _Pace(counts)
        self._pace.note()
        if animates():
            self._update_bar(counts, self._pace)
        elif time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._said_at = time.monotonic()
            self.note(_line(counts, self._pace))

    def finished(self, counts: RunCounts, out: Path | None, *, retried: bool = False) -> None:
        """Show the summary.

        Args:
            out: file of the results; None for stdout.
            retried: whether this run asked again what failed before.
        """
        self.stop()
        self.note(batch_summary(counts, resumable=out is not None and not retried))
        if out is not None:
            self.note(f"Results: {display_name(str(out))}")

    def interrupted(self, out: Path | None) -> None:
        """Say how many questions are done, and how to resume. Args: as of `finished`."""
        self.stop()
        if self._counts is None or not self._counts.done:
            return
        done = f"{count(self._counts.done)} of {counted(self._counts.questions, 'question')} done"
        self.note(
            f"{done}; the next run starts over: with --out FILE it would resume"
            if out is None
            else f"{done} (in {display_name(str(out))}); the same command resumes"
        )

    def _update_bar(self, counts: RunCounts, pace: _Pace) -> None:
        if self._bar is None:
            self._bar = rich_progress.Progress(
                rich_progress.SpinnerColumn(),
                rich_progress.BarColumn(bar_width=_BAR),
                _Live(counts, pace, lambda: self.stopping),
                console=stderr_console(),
                transient=True,
                redirect_stdout=False,
            )
            self._task = self._bar.add_task("batch", total=counts.questions)
            self._bar.start()
        self._bar.update(self._task, completed=counts.done)


class _Pace:
    """Speed of a run, measured from its first progress report (loading doesn't count)."""

    def __init__(self, counts: RunCounts) -> None:
        self._counts = counts
        self._started = time.monotonic()
        self._first: tuple[float, int] | None = None  # when results first came, and how many

    def note(self) -> None:
        """Note that there are new results, or none yet."""
        now = time.monotonic()
        since = now if self._first is None else self._first[0]
        # Those of the first batch come at once, which says nothing of the next.
        if self._counts.added and now - since < _AT_ONCE_S:
            self._first = since, self._counts.added

    def tokens_per_second(self) -> float:
        return self._counts.tokens / max(1e-9, time.monotonic() - self._started)

    def seconds_left(self) -> float | None:
        """By what came behind the first results, which take far longer; None of too few."""
        counts = self._counts
        if self._first is None or counts.answered < _MEASURED:
            return None
        since, before = self._first
        if counts.added == before:
            return None
        each = (time.monotonic() - since) / (counts.added - before)
        return each * (counts.questions - counts.done)


class _Live(rich_progress.ProgressColumn):
    """Column with the figures, read when it is drawn, since another thread updates them."""

    def __init__(self, counts: RunCounts, pace: _Pace, stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._counts, self._pace, self._stopping = counts, pace, stopping

    def render(self, task: rich_progress.Task) -> Text:
        """Text after the bar."""
        if self._stopping():
            return Text(ENDING)
        # The 4 columns are the spinner and the spaces.
        width = stderr_console().width - _BAR - 4
        return Text(_line(self._counts, self._pace, width))


def batch_summary(counts: RunCounts, resumable: bool) -> str:
    """Summary of a run, as a sentence."""
    each = counts.clips == counts.questions
    whole = counted(counts.clips, "clip")
    if not each:
        whole = f"{counted(counts.questions, 'question')} about {whole}"
    if counts.skipped == counts.questions:
        whole += " done already"
    elif counts.answered == counts.questions:
        whole += " answered"
    parts = [whole]
    if 0 < counts.skipped < counts.questions:
        parts.append(f"{count(counts.skipped)} done already")
    if counts.failed:
        parts.append(f"{count(counts.failed)} failed")
    if counts.skipped_failed:
        parts.append(f"{count(counts.skipped_failed)} failed earlier")
    if counts.warned:
        number = len(counts.warned)
        warned = count(number) if each else counted(number, "clip")
        names = _few([display_name(name) for name in sorted(counts.warned)])
        parts.append(f"{warned} with warnings ({names})")
    if left := counts.questions - counts.done:
        parts.append(f"{count(left)} not asked")
    retry = "; retry with --retry-failed" if resumable and counts.standing else ""
    return ", ".join(parts) + retry


def _few(names: Sequence[str]) -> str:
    """The first names of some."""
    return ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])


def _line(counts: RunCounts, pace: _Pace, width: int | None = None) -> str:
    """Progress of a run, in a line."""
    questions = f"{count(counts.done)} of {counted(counts.questions, 'question')}"
    rate = round(pace.tokens_per_second())
    speed = [f"{rate} tokens/s"] if rate else []  # none before the first answer, and of times
    parts = [questions, f"{count(counts.standing)} failed", *speed]
    left = pace.seconds_left()
    if left is not None:
        parts.append(f"{format_time(round(left))} left")
    if width is not None and len(" · ".join(parts)) > width:
        parts = [one for one in parts if one not in speed]
    return " · ".join(parts)


class CaptionView(BatchView):
    """View of a run that writes captions."""

    def dry(self, number: int, prompt: str) -> None:
        """Say what a run would do."""
        self.stop()
        self.note(f"{counted(number, 'caption')} would be written; the prompt: {one_line(prompt)}")

    def ended_early(self, number: int) -> None:
        """Say how many captions are written, and how to resume."""
        self.stop()
        if number:
            self.note(f"{counted(number, 'caption')} written; the same command resumes")

    def ended(
        self,
        written: Sequence[tuple[str, str, bool]],
        where: str,
        *,
        skipped: int,
        edited: int,
        failed: int,
    ) -> None:
        """Say what was written, and what wasn't.

        Args:
            written: captions, the names of their videos, and whether each ends within a sentence.
            where: they are, in words.
            skipped: videos that had a caption.
            edited: captions that were edited, and stay.
            failed: videos without a caption.
        """
        self.stop()
        parts = [f"{counted(len(written), 'caption')} written {where}".rstrip()]
        if skipped:
            hint = "" if written else "; --overwrite makes new ones"
            parts.append(f"{count(skipped)} skipped (there is a caption{hint})")
        parts += [f"{count(edited)} edited and kept (--overwrite-edited)"] if edited else []
        parts += [f"{count(failed)} failed"] if failed else []
        if cut := sorted(name for _, name, is_cut in written if is_cut):
            how = f"in mid-sentence ({_few(cut)}; raise --max-words or --max-tokens to redo these)"
            parts.append(f"{count(len(cut))} cut {how}")
        lengths = sorted((len(words(text)), name) for text, name, _ in written)
        if lengths:
            (short, briefest), (long, longest) = lengths[0], lengths[-1]
            parts.append(
                f"longest {counted(long, 'word')} ({longest}), shortest {count(short)} ({briefest})"
            )
        self.note(", ".join(parts))

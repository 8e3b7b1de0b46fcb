"""Runs jobs: an engine answers the questions without a result, and each result is written at once.

Ctrl-C ends a run after the answers under way; a second one ends it at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from types import FrameType

from dycoke_cli.ask import Ask, Failed
from dycoke_cli.errors import ModelError, UsageError, VideoError
from dycoke_cli.loop.asker import Asker, AskerEndedError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.runs.batch_journal import Outcome, Results, reason
from dycoke_cli.runs.file_walk import FileState, state_of
from dycoke_cli.runs.listener import Listener, RunCounts
from dycoke_cli.unicode import display_name
from dycoke_cli.video.pictures import digest

Group = Sequence[Ask]
"""Questions about one video, or a part of it."""
OpenAsker = Callable[[RunPlan, Listener], Asker]
"""Opens what answers the questions of a run; it is closed when they are answered."""


def asker_here(plan: RunPlan, listener: Listener) -> Asker:
    """What answers on this machine: this process, or several (`RunPlan.workers`)."""
    from dycoke_cli.runs.pool import WorkerPool  # late: a run that is complete needs no torch

    listener.stage("build" if plan.request.loading.random_weights else "load")
    return WorkerPool(plan, listener.warning) if plan.workers > 1 else plan.engine()


def run(
    groups: Sequence[Group],
    plan: RunPlan,
    results: Results,
    open_asker: OpenAsker | None,
    listener: Listener,
    *,
    drawn: Callable[[Group], Group] = lambda group: group,
    line: Callable[[Outcome], Outcome] = lambda outcome: outcome,
    retry_failed: bool = False,
    fail_fast: bool = False,
    answered_before: int = 0,
) -> RunCounts:
    """Answer the questions that have no result yet.

    Args:
        open_asker: called if there are any; None for `asker_here`.
        drawn: called with each group before it is asked about, in another thread.
        line: makes the line of a question of the one that it would have.
    """
    progress = RunProgress(groups, plan, results, retry_failed, answered_before)
    counts = progress.counts
    with _interruptible(listener):
        asked = map(drawn, progress.left())
        # If writing fails, the processes are to end now, not when it is garbage-collected.
        with closing(outcomes_of(asked, plan, open_asker or asker_here, listener)) as outcomes:
            listener.progress(counts)
            for outcome in map(line, map(progress.checked, outcomes)):
                results.add(outcome)  # first: whatever is shown as done is in the file
                progress.note(outcome)
                if outcome.failed:
                    listener.failed(reason(outcome.line))
                listener.progress(counts)
                if fail_fast and outcome.failed:
                    listener.stopping = True
        listener.progress(counts)
    return counts


def outcomes_of(
    groups: Iterable[Group], plan: RunPlan, open_asker: OpenAsker, listener: Listener
) -> Generator[Outcome]:
    """The lines of all questions. No model is loaded where there are none."""
    from dycoke_cli.runs.parts import answers_of

    groups = iter(groups)
    if (first := next(groups, None)) is None:
        return
    groups = chain([first], groups)

    with open_asker(plan, listener) as asker:
        for ask, event in answers_of(asker, groups, listener):
            # What is said of the model, or of what answers, every other question would hear, too.
            if isinstance(event, Failed) and isinstance(event.error, (ModelError, AskerEndedError)):
                raise event.error
            yield Outcome.of(ask, event)


@contextmanager
def _interruptible(listener: Listener) -> Iterator[None]:
    """Delay an interrupt until the run has ended on its own."""
    came = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        if came or not listener.ready:
            raise KeyboardInterrupt
        came = True
        listener.interrupt()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _described(group: Group) -> Group:
    """Questions with the digests of their files, which are part of the keys."""
    ask = group[0]
    [video] = ask.videos
    if ask.blind or not isinstance(video.source, str):
        return group
    subtitles = ask.request.subtitles_of(video.source, required=False) or video.subtitles
    if subtitles is not None and subtitles.path is not None:
        subtitles = replace(subtitles, digest=_digest(subtitles.path))
    video = replace(video, digest=_digest(video.source), subtitles=subtitles)
    return [replace(ask, videos=(video,)) for ask in group]


def _digest(path: str) -> str | None:
    try:
        return digest(path)
    except (VideoError, UsageError):  # raised again when the file is opened, and reported then
        return None


class RunProgress:
    """The questions that are left, and the counts of those that are done."""

    def __init__(
        self,
        groups: Sequence[Group],
        plan: RunPlan,
        results: Results,
        retry_failed: bool = False,
        answered_before: int = 0,
    ) -> None:
        questions = answered_before + sum(map(len, groups))
        clips = len({group[0].videos[0].place for group in groups})
        self.counts = RunCounts(questions, clips, skipped=answered_before)
        self._groups, self._plan, self._results = groups, plan, results
        self._retry_failed = retry_failed
        # With the file before it was read.
        self._asked: dict[str, tuple[Ask, FileState | None]] = {}

    def checked(self, outcome: Outcome) -> Outcome:
        """An outcome; a failure if its video was written meanwhile, and so wasn't complete."""
        ask, before = self._asked[outcome.key]
        if outcome.failed or before is None or state_of(before[1]) in (None, before):
            return outcome
        error = VideoError(
            f"{display_name(ask.videos[0].name)} was written while it was read: run the same "
            "command again when it is complete"
        )
        return Outcome.of(ask, Failed(error))

    def left(self) -> Iterator[Group]:
        """The questions that have no result; a generator.

        A file is hashed when its questions are drawn, so that the first answer doesn't wait for
        all files. They may be drawn in another thread: no other function changes these counts,
        except for `warned`, whose keys may be added in any order.
        """
        counts = self.counts
        for group in self._groups:
            missing = []
            source = group[0].videos[0].source
            state = state_of(source) if isinstance(source, str) else None
            for ask in map(self._plan.with_defaults, _described(group)):
                assert ask.key is not None
                counts.keys[ask.key] = ask.line
                known = self._results.known(ask.key)
                if known is not None and known.warned:
                    counts.warned[ask.videos[0].name] = None
                if known is not None and not known.failed:
                    counts.skipped += 1
                elif known is not None and not self._retry_failed:
                    counts.skipped_failed += 1
                else:
                    missing.append(ask)
                    self._asked[ask.key] = ask, state
            if missing:
                yield missing

    def note(self, outcome: Outcome) -> None:
        """Count an outcome."""
        counts, (ask, _) = self.counts, self._asked.pop(outcome.key)
        if outcome.warned:
            counts.warned[ask.videos[0].name] = None
        if outcome.failed:
            counts.failed += 1
        else:
            counts.answered += 1
            counts.tokens += outcome.line["tokens"]["generated"] or 0  # a server may not report it

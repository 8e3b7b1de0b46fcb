"""Measurement of settings on videos within a time budget, with a journal for resuming."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Ask, Footage
from dycoke_cli.compression.base import Method
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.loop.engine import Engine
from dycoke_cli.runs.converse import work_on
from dycoke_cli.runs.listener import Listener
from dycoke_cli.tuning.search import Measured, Observation, TuneJournal, key_of
from dycoke_cli.tuning.tune_request import Tune
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.resolve import ResolvedModel

BASELINE = Method.name


class Meter:
    """Measures settings on videos; reuses the observations in the journal.

    A video is decoded and encoded once for all of its settings.

    Attributes:
        left_out: sentences about skipped videos.
        baseline: observations of the uncompressed model, by video.
        cut: whether something wasn't measured because the time was up.
    """

    def __init__(
        self,
        tuning: Tune,
        resolved: ResolvedModel,
        engine: Engine,
        settings: Mapping[str, Method],
        journal: TuneJournal,
        decoder: Decoder,
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        self.left_out: list[str] = []
        self.baseline: dict[str, list[Observation]] = {}
        self.cut = False
        self._tuning, self._engine, self._settings = tuning, engine, settings
        self._journal, self._listener, self._clock = journal, listener, clock
        self._decoder, self._model = decoder, resolved.identity
        self._started = clock()
        self._digests: dict[str, str | None] = {}
        self._seconds_each: list[float] = []
        self._seconds_per_answer: list[float] = []

    @property
    def elapsed(self) -> float:
        """Elapsed time as a share of the minutes."""
        return (self._clock() - self._started) / (60 * self._tuning.minutes)

    @property
    def seconds_each(self) -> float | None:
        """Seconds per setting and video in this run; None if nothing was compared."""
        return fmean(self._seconds_each) if self._seconds_each else None

    def measure(
        self, video: str, settings: Sequence[str], until: float, latest: float
    ) -> Measured | None:
        """Measure settings on a video, in their order, see `halve`.

        Returns:
            Observations by setting: of those that were measured in time, or are in the journal.
            Empty if the video can't be read; None if the time was up before the first setting.
        """
        keys = {name: self._key(video, name) for name in (BASELINE, *settings)}
        stored = {name: self._journal.get(key) for name, key in keys.items()}
        observed = {name: each for name, each in stored.items() if each is not None}
        if len(observed) < len(keys) and self.elapsed <= (
            until if settings[0] in observed else latest
        ):
            try:
                self._measure_missing(video, keys, observed, until, latest)
            except VideoError as error:
                self._leave_out(str(error))
                return {}
        self.cut |= len(observed) < len(keys)
        if BASELINE not in observed or settings[0] not in observed:
            return None
        self.baseline[video] = observed[BASELINE]
        return {name: observed[name] for name in settings if name in observed}

    def _measure_missing(
        self,
        video: str,
        keys: Mapping[str, str],
        observed: dict[str, list[Observation]],
        until: float,
        latest: float,
    ) -> None:
        """Fill in the missing observations until the time is up."""
        self._listener.stage(f"tune: {self._left()}", 0, len(keys))

        request = self._tuning.request.with_method(Method())
        shown = (Footage(video, video),)
        ask = Ask(self._tuning.all_questions[0], request, shown, compare=True)
        work = partial(self._measure_on, keys, observed, until, latest)
        work_on(self._engine, ask, work, Listener())
        self._engine.free()

    def _measure_on(
        self,
        keys: Mapping[str, str],
        observed: dict[str, list[Observation]],
        until: float,
        latest: float,
        session: VideoSession,
        _: object,
    ) -> None:
        from dycoke_cli.tuning.measuring import Baseline, BaselineChoices

        settings = [name for name in keys if name != BASELINE]
        session.expect([self._engine.bound(self._settings[name]) for name in settings])
        questions = self._tuning.all_questions
        # The baseline runs even if the journal has it: settings are compared with its logits, which
        # the journal doesn't keep.
        generation = self._tuning.request.generation
        baseline = Baseline if generation.typed is None else BaselineChoices
        base = baseline(session, questions, generation, self._check_time)
        if BASELINE not in observed:
            observed[BASELINE] = base.observations
            self._journal.add(keys[BASELINE], base.observations)
        for number, name in enumerate(settings, 1):
            self._listener.stage(f"tune: {self._left()}", number, len(keys))
            if name in observed:
                continue
            if self.elapsed > (until if settings[0] in observed else latest):
                return
            began = self._clock()
            observed[name] = base.compare(self._settings[name])
            if observed[name]:  # not if the model refused all questions
                self._seconds_each.append(self._clock() - began)
            self._journal.add(keys[name], observed[name])

    def _check_time(self, answer: Answer) -> None:
        """End a run that can't compare anything in its minutes, during its first video."""
        if self.baseline or self._seconds_each:
            return
        self._seconds_per_answer.append(answer.seconds.prefill + answer.seconds.decode)
        questions, answered = len(self._tuning.all_questions), len(self._seconds_per_answer)
        if answered < min(2, questions):  # the first answer may include a warm-up
            return
        # The other questions uncompressed, and all of them under a setting: about as long each.
        left = (2 * questions - answered) * min(self._seconds_per_answer)
        minutes = (self._clock() - self._started + left) / 60
        if minutes > self._tuning.minutes:
            # A choice needs two: a video to search on, and one to test on.
            raise UsageError(
                f"one setting on one video takes about {minutes:.2g} minutes on this machine, more "
                f"than --minutes {self._tuning.minutes:g}; give --minutes {ceil(2 * minutes)} or "
                "more, or fewer questions (--questions)"
            )

    def _left(self) -> str:
        left = 60 * self._tuning.minutes - (self._clock() - self._started)
        return f"{max(0, left) / 60:.0f} min left"

    def _key(self, video: str, name: str) -> str:
        if video not in self._digests:
            self._digests[video] = self._digest(video)
        method = self._settings.get(name, Method())
        return key_of(
            {
                "video": self._digests[video],
                "questions": self._tuning.all_questions,
                "model": self._model,
                **replace(self._tuning.request, method=method).key_parts(),
            }
        )

    def _digest(self, video: str) -> str | None:
        try:
            return self._decoder.digest(video)
        except (VideoError, UsageError):
            return None

    def order(self) -> list[str]:
        """Readable videos without duplicates, ordered by a hash of their content.

        Names would group related videos, and the search and test halves are every other video.
        """
        by_content: dict[str, str] = {}
        for video in self._tuning.videos:
            digest = self._digests[video] = self._digest(video)
            if digest is None:
                self._leave_out(f"{video} can't be read")
            elif digest in by_content:
                self._leave_out(f"{video} has the content of {by_content[digest]}")
            else:
                by_content[digest] = video
        return [by_content[digest] for digest in sorted(by_content)]

    def _leave_out(self, why: str) -> None:
        self.left_out.append(f"left out: {why}")
        self._listener.warning(self.left_out[-1])

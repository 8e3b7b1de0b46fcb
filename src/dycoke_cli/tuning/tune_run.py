"""Run of `dycoke tune`: search on half of the videos, test on the other half."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import Answer, ReportedModel, Tuned
from dycoke_cli.ask import Ask, Footage
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import described, name_of
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.evaluation.method_row import method_on
from dycoke_cli.guard.bounds import Attempt, calibrate, interval
from dycoke_cli.guard.tuned import SCHEMA as STORED_SCHEMA
from dycoke_cli.guard.tuned import Tuning, fingerprint
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.param import key_part
from dycoke_cli.runs.converse import work_on
from dycoke_cli.runs.journal import open_journal
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.tuning.search import (
    FILE,
    Measured,
    Observation,
    SettingResult,
    TuneJournal,
    cheapest_setting,
    grid,
    guard_base,
    halve,
    key_of,
    ladder_of,
    losses,
    pareto_front,
    summarize,
)
from dycoke_cli.tuning.tune_report import GuardPromise, TunedRow, TuneReport
from dycoke_cli.tuning.tune_request import LEAST_VIDEOS, Tune
from dycoke_cli.version import __version__
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.resolve import ResolvedModel


# Measurement of settings on videos within a time budget, with a journal for resuming.


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
        session.record_attention_for(
            [self._engine.bound(self._settings[name]) for name in settings]
        )
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


# Result of a search: the report, and the data stored for `--method auto` and the guard.


_REPORTED_BOUNDS = (0.05, 0.1)


@dataclass(frozen=True)
class Search:
    """Measurements and choice of a search."""

    settings: Mapping[str, Method]  # all settings, by name
    results: Sequence[SettingResult]  # summaries of the remaining settings on the search videos
    choice: SettingResult | None  # the chosen setting; None is the baseline
    frontier: Sequence[str]  # names of the Pareto-optimal settings
    ladder: Sequence[str]  # names of a guard's settings, smallest budget first
    searched: Sequence[Measured]  # measurements on the search videos
    tested: Sequence[Measured]  # measurements on the test videos
    calibrated_on: Sequence[Measured]  # measurements on videos that didn't influence the ladder
    complete: bool  # whether the time sufficed for all settings and videos
    # measured seconds per setting and video; None if all were in the journal
    seconds_each: float | None
    # observations of the uncompressed model, by video
    baseline: Mapping[str, Sequence[Observation]]
    left_out: Sequence[str]  # sentences about videos that can't be read
    typed: bool = False  # whether the answers are choices, whose certainty is their margin

    @property
    def name(self) -> str:
        """Name of the chosen setting."""
        return self.choice.setting if self.choice else Method.name

    @property
    def method(self) -> Method:
        """The chosen method."""
        return self.settings[self.name] if self.choice else Method()

    @property
    def compared(self) -> int:
        """Number of settings that were measured on a search video."""
        return len(self.searched[0])  # what is measured on later videos is part of that

    @property
    def answers(self) -> list[Observation]:
        """All observations of the uncompressed model."""
        return [one for answers in self.baseline.values() for one in answers]

    @property
    def tries(self) -> tuple[tuple[tuple[Attempt, ...], ...], ...]:
        """Calibration data of a guard, by video, question and budget."""
        # Successive halving measured only the first videos under every setting of the ladder.
        videos = [v for v in self.calibrated_on if all(name in v for name in self.ladder)]
        return tuple(
            tuple(
                tuple(
                    Attempt(self._score(video[name][n]), video[name][n].same)
                    for name in self.ladder
                )
                for n in range(len(video[self.ladder[0]]))
            )
            for video in videos
        )

    def _score(self, one: Observation) -> float:
        certainty = one.certainty
        return certainty.least_margin if self.typed else certainty.least_probability


def tuned_on(search: Search, tuning: Tune) -> Tuned:
    """Statistical guarantee of the choice, from the test videos."""
    # The baseline agrees with itself.
    changed = losses(search.name, search.tested) if search.choice else [0.0 for _ in search.tested]
    return Tuned(
        videos=len(search.searched) + len(search.tested),
        questions=len(search.answers),
        date=str(datetime.now(UTC).date()),
        target=tuning.target,
        agreement=1 - fmean(changed) if changed else None,
        interval=_agreement(changed),
    )


def report_of(search: Search, tuning: Tune, model: ReportedModel, tuned: Tuned) -> TuneReport:
    """Build the report of a run."""
    observations, tries = search.answers, search.tries
    return TuneReport(
        model=model,
        target=tuning.target,
        videos=tuple(search.baseline),
        questions=tuple(dict.fromkeys(one.question for one in observations)),
        general_questions=not tuning.questions,
        settings=len(search.settings),
        compared=search.compared,
        complete=search.complete,
        baseline_seconds=fmean(one.seconds for one in observations),
        rows=tuple(
            TunedRow(
                setting=one.setting,
                method=described(search.settings[one.setting]),
                tokens=one.cost,
                seconds=one.seconds,
                divergence=one.divergence,
                agreement=one.agreement,
                tested=1 - fmean(lost) if (lost := losses(one.setting, search.tested)) else None,
                interval=_agreement(lost),
                on_frontier=one.setting in search.frontier,
                chosen=one.setting == search.name,
            )
            for one in sorted(search.results, key=lambda each: each.cost)
        ),
        choice=search.name,
        tuned=tuned,
        guard=tuple(
            GuardPromise(alpha, mean, result.threshold, result.videos, result.missing)
            for mean in (False, True)
            for alpha in _REPORTED_BOUNDS
            for result in [calibrate(tries, alpha, on_average=mean)]
        ),
        ladder=tuple(search.ladder),
        warnings=(*search.left_out, *_warnings(search, tuning, tuned)),
    )


def _agreement(changed: Sequence[float]) -> tuple[float, ...]:
    if not changed:
        return ()
    low, high = interval(changed)
    return 1 - high, 1 - low


def _warnings(search: Search, tuning: Tune, tuned: Tuned) -> list[str]:
    warnings = []
    if not tuning.questions:
        warnings.append(
            f"asked {len({one.question for one in search.answers})} general questions: your own "
            "(--questions) tell more about your use"
        )
    if search.choice is None:
        warnings.append(
            f"no setting gave the uncompressed answer to {100 * tuning.target:g} % of the "
            "questions, so the baseline is chosen; a lower --target takes more risk"
        )
    elif tuned.interval and tuned.interval[1] < tuning.target:
        warnings.append(
            "on the videos that it wasn't chosen by, the choice misses the target: it looked "
            "better than it is; tune on more videos"
        )
    elif not tuned.interval:
        warnings.append(
            "no time was left to test the choice on other videos; the same command resumes"
        )
    if not search.complete:
        each = search.seconds_each
        warnings.append(
            f"--minutes {tuning.minutes:g} sufficed to compare {search.compared} of "
            f"{len(search.settings)} settings, likely ones first, on {len(search.searched)} videos"
            + ("" if each is None else f" ({each:.2g} s per setting and video on this machine)")
            + "; the same command resumes"
        )
    return warnings


SEARCH_SHARE = 0.6
"""Share of the minutes for the search; the rest is for the test videos."""


def tune(
    tuning: Tune, listener: Listener, clock: Callable[[], float] = time.monotonic
) -> tuple[TuneReport, Tuning]:
    """Run a search, and test its choice on other videos.

    Returns:
        The report, and the data that `guard.tuned.store` saves.
    """
    unloaded = unloaded_model(tuning.request, listener.warning)
    with faster_imports():
        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import resolve_model as resolve

    request = tuning.request
    sampling = listening(request.sampling, unloaded.source, request.loading)
    tuning = replace(tuning, request=replace(request, sampling=sampling))
    listener.stage("load" if unloaded.local else "fetch")
    resolved = resolve(unloaded.source, tuning.request.loading)
    settings = _settings(tuning, resolved)
    with ExitStack() as stack:
        journal = stack.enter_context(open_journal(TuneJournal, tuning.folder / FILE))
        decoder = stack.enter_context(Decoder(tuning.request.limits))
        loaded = load(resolved, on_stage=listener.stage)
        engine = stack.enter_context(Engine(tuning.request, loaded=loaded, keep=1))
        meter = Meter(tuning, resolved, engine, settings, journal, decoder, listener, clock)
        search = _search(tuning, settings, meter)
        about = ReportedModel(loaded.name, resolved.revision, loaded.dtype, loaded.device)
        tuned = tuned_on(search, tuning)
        typed = tuning.request.generation.typed
        options = typed if isinstance(typed, TypedOptions) else None
        return (
            report_of(search, tuning, about, tuned),
            Tuning(
                schema=STORED_SCHEMA,
                version=__version__,
                model=loaded.name,
                fingerprint=fingerprint(tuning.request.model),
                dtype=loaded.dtype,
                sampling=key_part(tuning.request.sampling),
                method=described(search.method),
                default=False,
                tuned=tuned,
                ladder=tuple(described(settings[name]) for name in search.ladder),
                tries=search.tries,
                options=() if options is None else options.texts,
                calibrated=options is not None and options.calibrate,
            ),
        )


def _settings(tuning: Tune, resolved: ResolvedModel) -> dict[str, Method]:
    if tuning.specs is None:
        return {name_of(method): method for method in grid(resolved)}
    methods = [method_on(resolved, spec) for spec in tuning.specs if not spec.is_baseline]
    if not methods or any(spec.is_control for spec in tuning.specs):
        raise UsageError("--methods of tune needs a method other than none, and no controls")
    return {name_of(method): method for method in methods}


def _search(tuning: Tune, settings: Mapping[str, Method], meter: Meter) -> Search:
    """Choose on every other video, and test the choice on the others."""
    # Alternate videos, in an order that doesn't depend on names: both halves are random samples.
    videos = meter.order()
    _check_enough(tuning, meter)
    search_videos, test_videos = videos[::2], videos[1::2]

    def search(video: str, wanted: Sequence[str], share: float) -> Measured | None:
        # What is compared first has all the time: without it there is no result.
        latest = SEARCH_SHARE if meter.baseline else 1.0
        return meter.measure(video, wanted, share * SEARCH_SHARE, latest)

    remaining, searched = halve(list(settings), search_videos, search, tuning.target)
    if not searched:
        _check_enough(tuning, meter)
        raise UsageError(_why_nothing(meter, tuning))
    results = [summarize(name, searched) for name in remaining]
    choice = cheapest_setting(results, tuning.target)
    frontier = [one.setting for one in pareto_front(results)]
    fixed_ladder = _fixed_ladder(settings)
    ladder = fixed_ladder or ladder_of(settings[guard_base(results).setting], settings)
    # The test videos measure only what the report shows, to fit the remaining time; if that is
    # short, the choice alone, or what comes closest to one.
    first = (choice or guard_base(results)).setting
    to_test = list(dict.fromkeys([first, *ladder, *frontier]))
    tested = list[Measured]()
    begun = meter.elapsed
    for number, video in enumerate(test_videos, 1):
        until = min(1.0, begun + (1 - begun) * number / len(test_videos))
        measured = meter.measure(video, to_test, until, 1.0)
        if measured is None:
            break
        if measured and measured[to_test[0]]:
            tested.append(measured)
    _check_enough(tuning, meter)
    return Search(
        settings=settings,
        results=results,
        choice=choice,
        frontier=frontier,
        ladder=ladder,
        searched=searched,
        tested=tested,
        # Only a ladder that was fixed in advance may be calibrated on the search videos: one that
        # was chosen on them would look more certain than it is.
        calibrated_on=[*tested, *(searched if fixed_ladder else [])],
        complete=not meter.cut,
        seconds_each=meter.seconds_each,
        baseline=meter.baseline,
        left_out=meter.left_out,
        typed=tuning.request.generation.typed is not None,
    )


def _check_enough(tuning: Tune, meter: Meter) -> None:
    """Raise if too few readable videos remain for a search and a test."""
    remaining = len(tuning.videos) - len(meter.left_out)
    if remaining < LEAST_VIDEOS:
        missing = LEAST_VIDEOS - remaining
        raise VideoError(
            f"tune needs {LEAST_VIDEOS} different videos that can be read, and {remaining} of "
            f"{len(tuning.videos)} are left: give {missing} more ({meter.left_out[0]})"
        )


def _fixed_ladder(settings: Mapping[str, Method]) -> list[str]:
    """All settings as a ladder, if they differ only in one method's budget; else empty."""
    ladder = ladder_of(next(iter(settings.values())), settings)
    return ladder if len(ladder) == len(settings) else []


def _why_nothing(meter: Meter, tuning: Tune) -> str:
    if any(not answers for answers in meter.baseline.values()):
        return "the model can't be asked any of these questions; give others (--questions)"
    if meter.left_out:
        return "none of the videos that settings are chosen by can be read"
    return (
        f"the {tuning.minutes:g} minutes were over before one setting was measured on one video; "
        f"give --minutes {ceil(2 * tuning.minutes)} or more, or fewer questions (--questions)"
    )

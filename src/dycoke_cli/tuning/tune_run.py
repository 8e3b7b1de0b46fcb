"""Tunes a model: checks, loads, searches on half of the videos, tests on the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from dycoke_cli.cache import cache_folder
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import described
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.evaluation.specs import Spec
from dycoke_cli.guard.bounds import interval
from dycoke_cli.guard.calibration import Try, calibrate
from dycoke_cli.guard.tuned import SCHEMA as STORED_SCHEMA
from dycoke_cli.guard.tuned import Tuning, fingerprint
from dycoke_cli.importing import uncollected
from dycoke_cli.param import key_part
from dycoke_cli.request import Request
from dycoke_cli.result import Model, Tuned
from dycoke_cli.runs.conversation import known_of
from dycoke_cli.runs.jobs import digest_of
from dycoke_cli.runs.journal import open_journal
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.plan import identity as model_identity
from dycoke_cli.tuning.grid import grid, ladder_of, name_of
from dycoke_cli.tuning.observation import Observation
from dycoke_cli.tuning.search import Measured, choose, front, guard_base, halve, losses, standing
from dycoke_cli.tuning.tune_journal import FILE, TuneJournal, key_of
from dycoke_cli.tuning.tune_report import GuardPromise, TunedRow, TuneReport
from dycoke_cli.version import __version__
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.resolve import ResolvedModel

GENERAL = (
    "What happens in the video?",
    "What happens first?",
    "What happens at the end?",
    "What is shown?",
    "How many people are there?",
    "Where does it take place?",
)
LEAST_VIDEOS = 4
SEARCH_SHARE = 0.6
"""Of the minutes; the rest is for videos that nothing was chosen by."""
_PROMISED = (0.05, 0.1)
_BASELINE = Method.name


@dataclass(frozen=True)
class Tune:
    """All that is chosen for a run.

    Args:
        videos: paths.
        questions: about each; empty for general ones.
        specs: the settings; None for the grid.
        request: how questions are asked; its method doesn't matter.
        target: the agreement that is asked for.
        minutes: at most.
        out: folder of the journal; None is one in the user's cache.

    Raises:
        UsageError: a value out of range, or too few videos.
    """

    videos: tuple[str, ...]
    questions: tuple[str, ...]
    specs: tuple[Spec, ...] | None
    request: Request
    target: float = 0.98
    minutes: float = 20.0
    out: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target <= 1:
            raise UsageError(f"--target must be above 0 and at most 1, not {self.target:g}")
        if not self.minutes > 0:
            raise UsageError(f"--minutes must be above 0, not {self.minutes:g}")
        if self.request.generation.temperature > 0:
            raise UsageError("tune compares greedy answers; leave --temperature out")
        if self.request.loading.random_weights:
            raise UsageError("the answers of random weights mean nothing: there is nothing to tune")
        if len(self.videos) < LEAST_VIDEOS:
            raise UsageError(
                f"tune needs {LEAST_VIDEOS} videos or more, half to choose by and half to test on; "
                f"there {'is' if len(self.videos) == 1 else 'are'} {len(self.videos)}"
            )

    @property
    def folder(self) -> Path:
        """Where the journal is."""
        return cache_folder() / "tune" if self.out is None else self.out


def tune(
    tuning: Tune, listener: Listener, clock: Callable[[], float] = time.monotonic
) -> tuple[TuneReport, Tuning]:
    """Search, test, and count.

    Returns:
        The report, and what `guard.tuned.store` keeps.

    Raises:
        UsageError: a setting that the model can't serve, or questions that it can't be asked.
        VideoError: too few videos can be read.
        ModelError: the model can't be loaded.
        OutOfMemoryError: with the flag that helps.
        OutputError: the journal is in use, or can't be written.
    """
    local, _ = known_of(tuning.request, listener.warning)
    with uncollected():
        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import choose as resolve

    listener.stage("load" if local else "fetch")
    found = resolve(tuning.request.model, tuning.request.loading)
    settings = _settings(tuning, found)
    with (
        open_journal(TuneJournal, tuning.folder / FILE) as journal,
        Decoder(tuning.request.limits) as decoder,
    ):
        loaded = load(tuning.request.model, **asdict(tuning.request.loading))
        meter = _Meter(tuning, found, loaded, settings, journal, decoder, listener, clock)
        return _tuned(tuning, found, loaded, settings, meter)


def _settings(tuning: Tune, found: ResolvedModel) -> dict[str, Method]:
    if tuning.specs is None:
        return {name_of(method): method for method in grid(found)}
    methods = [spec.for_model(found) for spec in tuning.specs if not spec.is_baseline]
    if not methods or any(spec.is_control for spec in tuning.specs):
        raise UsageError("--methods of tune names methods, and one beside none at least")
    return {name_of(method): method for method in methods}


class _Meter:
    """Measures settings on videos, each of which is encoded once; what is known isn't asked again.

    Attributes:
        warnings: videos that were left out, and why.
        baseline: observations of the uncompressed model, by video.
    """

    def __init__(
        self,
        tuning: Tune,
        found: ResolvedModel,
        loaded: LoadedModel,
        settings: Mapping[str, Method],
        journal: TuneJournal,
        decoder: Decoder,
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        self.warnings: list[str] = []
        self.baseline: dict[str, list[Observation]] = {}
        self._tuning, self._loaded, self._settings = tuning, loaded, settings
        self._journal, self._listener, self._clock = journal, listener, clock
        self._decoder, self._model = decoder, model_identity(found)
        self._started = clock()
        self._digests: dict[str, str | None] = {}
        self.until = 1.0
        """Share of the minutes that may be used."""

    def measure(self, video: str, settings: Sequence[str]) -> Measured | None:
        """The observations of settings on a video, see `halve`; empty where it can't be read."""
        wanted = [_BASELINE, *settings]
        keys = {name: self._key(video, name) for name in wanted}
        known = {name: self._journal.get(key) for name, key in keys.items()}
        if any(found is None for found in known.values()):
            if self._late():
                return None
            try:
                if not self._ask(video, keys, known):
                    return None
            except VideoError as error:
                self.warnings.append(f"left out: {error}")
                self._listener.warning(self.warnings[-1])
                return {}
        self.baseline[video] = known[_BASELINE] or []
        return {name: known[name] or [] for name in settings}

    def _ask(
        self, video: str, keys: Mapping[str, str], known: dict[str, list[Observation] | None]
    ) -> bool:
        from dycoke_cli.engine.session import VideoSession
        from dycoke_cli.tuning.measuring import Baseline

        clip = self._decoder.read(video, self._tuning.request.sampling)
        session = VideoSession(self._loaded, clip)
        questions = self._tuning.questions or GENERAL
        base = Baseline(session, questions, self._tuning.request.generation)
        for number, (name, key) in enumerate(keys.items()):
            self._listener.stage(f"tune: {self._left()}", number, len(keys))
            if known[name] is not None:
                continue
            if self._late():
                return False
            baseline = name == _BASELINE
            known[name] = base.observations if baseline else base.compare(self._settings[name])
            self._journal.add(key, known[name] or [])
        return True

    def _late(self) -> bool:
        return self._clock() - self._started > 60 * self._tuning.minutes * self.until

    def _left(self) -> str:
        left = 60 * self._tuning.minutes - (self._clock() - self._started)
        return f"{max(0, left) / 60:.0f} min left"

    def _key(self, video: str, name: str) -> str:
        if video not in self._digests:
            self._digests[video] = digest_of(video)
        method = self._settings.get(name, Method())
        return key_of(
            {
                "video": self._digests[video],
                "questions": self._tuning.questions or GENERAL,
                "model": self._model,
                **replace(self._tuning.request, method=method).key_parts(),
            }
        )

    def order(self) -> list[str]:
        """The videos in an order that has nothing to do with their names: by their content."""
        for video in self._tuning.videos:
            self._digests[video] = digest_of(video)
        unread = [video for video, digest in self._digests.items() if digest is None]
        for video in unread:
            self.warnings.append(f"left out: {video} can't be read")
            self._listener.warning(self.warnings[-1])
        by_content = {self._digests[video]: video for video in self._tuning.videos}
        return [by_content[digest] for digest in sorted(d for d in by_content if d)]


def _tuned(
    tuning: Tune,
    found: ResolvedModel,
    loaded: LoadedModel,
    settings: Mapping[str, Method],
    meter: _Meter,
) -> tuple[TuneReport, Tuning]:
    videos = meter.order()
    to_choose, to_test = videos[::2], videos[1::2]
    meter.until = SEARCH_SHARE
    left, chosen_by = halve(list(settings), to_choose, meter.measure, tuning.target)
    if not chosen_by:
        raise UsageError(_nothing(meter, tuning))
    standings = [standing(name, chosen_by) for name in left]
    choice = choose(standings, tuning.target)
    frontier = [one.setting for one in front(standings)]
    one_ladder = _one_ladder(settings)
    base = one_ladder[-1] if one_ladder else guard_base(standings).setting
    ladder = one_ladder or ladder_of(settings[base], settings)
    wanted = list(dict.fromkeys([*frontier, *ladder, *([choice.setting] if choice else [])]))
    meter.until = 1.0
    tested, complete = list[Measured](), True
    for video in to_test:
        measured = meter.measure(video, wanted)
        if measured is None:
            complete = False
            break
        if measured and measured[wanted[0]]:
            tested.append(measured)
    # A ladder that was fixed before any video was seen may be calibrated on all of them.
    climbed = [*tested, *(chosen_by if one_ladder else [])]
    climbed = [video for video in climbed if all(name in video for name in ladder)]
    tries = tuple(
        tuple(
            tuple(
                Try(video[name][n].certainty.least_probability, video[name][n].same)
                for name in ladder
            )
            for n in range(len(video[ladder[0]]))
        )
        for video in climbed
    )
    name = choice.setting if choice else _BASELINE
    every = [one for answers in meter.baseline.values() for one in answers]
    changed = losses(name, tested) if choice else [0.0 for _ in tested]
    tuned = Tuned(
        videos=len(chosen_by) + len(tested),
        questions=len(every),
        date=str(datetime.now(UTC).date()),
        target=tuning.target,
        agreement=1 - fmean(changed) if changed else None,
        interval=_agreement(changed),
    )
    method = settings[name] if choice else Method()
    report = TuneReport(
        model=Model(loaded.name, found.revision, loaded.dtype, loaded.device),
        target=tuning.target,
        videos=tuple(meter.baseline),
        questions=tuple(dict.fromkeys(one.question for one in every)),
        general_questions=not tuning.questions,
        settings=len(settings),
        complete=complete and len(chosen_by) >= len(to_choose) - len(meter.warnings),
        baseline_seconds=fmean(one.seconds for one in every),
        rows=tuple(
            TunedRow(
                setting=one.setting,
                method=described(settings[one.setting]),
                tokens=one.cost,
                seconds=one.seconds,
                divergence=one.divergence,
                agreement=one.agreement,
                tested=1 - fmean(own) if (own := losses(one.setting, tested)) else None,
                interval=_agreement(own),
                on_frontier=one.setting in frontier,
                chosen=one.setting == name,
            )
            for one in sorted(standings, key=lambda each: each.cost)
        ),
        choice=name,
        tuned=tuned,
        guard=tuple(
            GuardPromise(alpha, mean, got.threshold, got.videos, got.missing)
            for mean in (False, True)
            for alpha in _PROMISED
            for got in [calibrate(tries, alpha, on_average=mean)]
        ),
        ladder=tuple(ladder),
        warnings=(*meter.warnings, *_warnings(tuning, choice is None, tuned, every)),
    )
    return report, Tuning(
        schema=STORED_SCHEMA,
        version=__version__,
        model=loaded.name,
        fingerprint=fingerprint(tuning.request.model),
        dtype=loaded.dtype,
        sampling=key_part(tuning.request.sampling),
        method=described(method),
        default=False,
        tuned=tuned,
        ladder=tuple(described(settings[each]) for each in ladder),
        tries=tries,
    )


def _one_ladder(settings: Mapping[str, Method]) -> list[str]:
    """The ladder that all settings make, where they differ in one method's budget alone."""
    ladder = ladder_of(next(iter(settings.values())), settings)
    return ladder if len(ladder) == len(settings) else []


def _agreement(changed: Sequence[float]) -> tuple[float, ...]:
    if not changed:
        return ()
    low, high = interval(changed)
    return 1 - high, 1 - low


def _nothing(meter: _Meter, tuning: Tune) -> str:
    if any(not answers for answers in meter.baseline.values()):
        return "the model can't be asked any of these questions; give others (--questions)"
    if meter.warnings:
        return "none of the videos that settings are chosen by can be read"
    return (
        f"the {tuning.minutes:g} minutes were over before one video was measured; the same command "
        "resumes"
    )


def _warnings(
    tuning: Tune, none_chosen: bool, tuned: Tuned, every: Sequence[Observation]
) -> list[str]:
    said = []
    if not tuning.questions:
        said.append(
            f"asked {len({one.question for one in every})} general questions: your own "
            "(--questions) tell more about your use"
        )
    if none_chosen:
        said.append(
            f"no setting gave the uncompressed answer to {100 * tuning.target:g} % of the "
            "questions, so the baseline is chosen; a lower --target takes more risk"
        )
    elif tuned.interval and tuned.interval[1] < tuning.target:
        said.append(
            "on the videos that it wasn't chosen by, the choice misses the target: it looked "
            "better than it is; tune on more videos"
        )
    elif not tuned.interval:
        said.append("no time was left to test the choice on other videos; the same command resumes")
    return said

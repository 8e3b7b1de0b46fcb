"""Result of a search: the report, and the data stored for `--method auto` and the guard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean

from dycoke_cli.answer.answer import ReportedModel, Tuned
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import described
from dycoke_cli.guard.bounds import Attempt, calibrate, interval
from dycoke_cli.tuning.search import Measured, Observation, SettingResult, losses
from dycoke_cli.tuning.tune_report import GuardPromise, TunedRow, TuneReport
from dycoke_cli.tuning.tune_request import Tune

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

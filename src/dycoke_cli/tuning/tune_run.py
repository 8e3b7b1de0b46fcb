"""Run of `dycoke tune`: search on half of the videos, test on the other half."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import Model
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import described, name_of
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.guard.tuned import SCHEMA as STORED_SCHEMA
from dycoke_cli.guard.tuned import Tuning, fingerprint
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.param import key_part
from dycoke_cli.runs.conversation import unloaded_model
from dycoke_cli.runs.journal import open_journal
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import uncollected
from dycoke_cli.tuning.grid import grid, ladder_of
from dycoke_cli.tuning.meter import Meter
from dycoke_cli.tuning.reporting import Search, report_of, tuned_on
from dycoke_cli.tuning.search import Measured, choose, front, guard_base, halve, standing
from dycoke_cli.tuning.tune_journal import FILE, TuneJournal
from dycoke_cli.tuning.tune_report import TuneReport
from dycoke_cli.tuning.tune_request import LEAST_VIDEOS, Tune
from dycoke_cli.version import __version__
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel

SEARCH_SHARE = 0.6
"""Of the minutes; the rest is for videos that nothing was chosen by."""


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
    local = unloaded_model(tuning.request, listener.warning).local
    with uncollected():
        from dycoke_cli.models.load import load
        from dycoke_cli.models.resolve import choose as resolve

    request = tuning.request
    heard = listening(request.sampling, request.model, request.loading)
    tuning = replace(tuning, request=replace(request, sampling=heard))
    listener.stage("load" if local else "fetch")
    found = resolve(tuning.request.model, tuning.request.loading)
    settings = _settings(tuning, found)
    with (
        open_journal(TuneJournal, tuning.folder / FILE) as journal,
        Decoder(tuning.request.limits) as decoder,
    ):
        loaded = load(tuning.request.model, **asdict(tuning.request.loading))
        meter = Meter(tuning, found, loaded, settings, journal, decoder, listener, clock)
        search = _searched(tuning, settings, meter)
        about = Model(loaded.name, found.revision, loaded.dtype, loaded.device)
        tuned = tuned_on(search, tuning)
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
            ),
        )


def _settings(tuning: Tune, found: ResolvedModel) -> dict[str, Method]:
    if tuning.specs is None:
        return {name_of(method): method for method in grid(found)}
    methods = [spec.for_model(found) for spec in tuning.specs if not spec.is_baseline]
    if not methods or any(spec.is_control for spec in tuning.specs):
        raise UsageError("--methods of tune names methods, and one beside none at least")
    return {name_of(method): method for method in methods}


def _searched(tuning: Tune, settings: Mapping[str, Method], meter: Meter) -> Search:
    """Choose on every other video, and measure what was chosen on those between them."""
    videos = meter.order()
    _check_enough(tuning, meter)
    to_choose, to_test = videos[::2], videos[1::2]
    meter.until = SEARCH_SHARE
    left, chosen_by = halve(list(settings), to_choose, meter.measure, tuning.target)
    if not chosen_by:
        _check_enough(tuning, meter)
        raise UsageError(_nothing(meter, tuning))
    standings = [standing(name, chosen_by) for name in left]
    choice = choose(standings, tuning.target)
    frontier = [one.setting for one in front(standings)]
    one_ladder = _one_ladder(settings)
    ladder = one_ladder or ladder_of(settings[guard_base(standings).setting], settings)
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
    _check_enough(tuning, meter)
    return Search(
        settings=settings,
        standings=standings,
        choice=choice,
        frontier=frontier,
        ladder=ladder,
        chosen_by=chosen_by,
        tested=tested,
        # A ladder that was fixed before any video was seen may be calibrated on all of them.
        calibrated_on=[*tested, *(chosen_by if one_ladder else [])],
        complete=complete and len(chosen_by) >= len(to_choose) - len(meter.left_out),
        baseline=meter.baseline,
        left_out=meter.left_out,
    )


def _check_enough(tuning: Tune, meter: Meter) -> None:
    """Refuse to choose where too few videos are left of those that were given."""
    left = len(tuning.videos) - len(meter.left_out)
    if left < LEAST_VIDEOS:
        raise VideoError(
            f"tune needs {LEAST_VIDEOS} different videos that can be read, and {left} of "
            f"{len(tuning.videos)} are left: give {LEAST_VIDEOS - left} more ({meter.left_out[0]})"
        )


def _one_ladder(settings: Mapping[str, Method]) -> list[str]:
    """The ladder that all settings make, where they differ in one method's budget alone."""
    ladder = ladder_of(next(iter(settings.values())), settings)
    return ladder if len(ladder) == len(settings) else []


def _nothing(meter: Meter, tuning: Tune) -> str:
    if any(not answers for answers in meter.baseline.values()):
        return "the model can't be asked any of these questions; give others (--questions)"
    if meter.left_out:
        return "none of the videos that settings are chosen by can be read"
    return (
        f"the {tuning.minutes:g} minutes were over before one video was measured; the same command "
        "resumes"
    )

"""Run of `dycoke tune`: search on half of the videos, test on the other half."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import ReportedModel
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import described, name_of
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.evaluation.method_row import method_on
from dycoke_cli.guard.tuned import SCHEMA as STORED_SCHEMA
from dycoke_cli.guard.tuned import Tuning, fingerprint
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.param import key_part
from dycoke_cli.runs.journal import open_journal
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.tuning.meter import Meter
from dycoke_cli.tuning.reporting import Search, report_of, tuned_on
from dycoke_cli.tuning.search import (
    FILE,
    Measured,
    TuneJournal,
    choose,
    grid,
    guard_base,
    halve,
    ladder_of,
    pareto_front,
    summarize,
)
from dycoke_cli.tuning.tune_report import TuneReport
from dycoke_cli.tuning.tune_request import LEAST_VIDEOS, Tune
from dycoke_cli.version import __version__
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel

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
        from dycoke_cli.models.resolve import choose as resolve

    request = tuning.request
    sampling = listening(request.sampling, request.model, request.loading)
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
    choice = choose(results, tuning.target)
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

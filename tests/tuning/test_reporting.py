"""The report of `dycoke tune`: what is said of a choice comes from videos it wasn't chosen by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dycoke_cli.answer.answer import Certainty, ReportedModel
from dycoke_cli.compression.registry import create
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.guard.bounds import Attempt, videos_needed
from dycoke_cli.tuning.search import Observation, SettingResult
from dycoke_cli.tuning.tune_request import Tune
from dycoke_cli.tuning.tune_run import Search, report_of, tuned_on
from tests.tuning.test_search import observed

MODEL = ReportedModel("mini", None, "float32", "cpu")
TUNE = Tune(("a", "b", "c", "d"), ("?",), None, BUNDLED)
LUCKY, LARGER = "evs:retain=0.1", "evs:retain=0.5"


def found(**changed: Any) -> Search:
    """A setting that changed nothing on the videos that it won on, and much on the others."""
    lucky = [{LUCKY: [observed(10, 0.1)], LARGER: [observed(50, 0.1)]}] * 20
    others = [
        {LUCKY: [observed(10, 0.1, same=n % 2 == 0)], LARGER: [observed(50, 0.1)]}
        for n in range(20)
    ]
    results = [
        SettingResult(LUCKY, 0.1, 0.1, 1.0, 0.2, 20),
        SettingResult(LARGER, 0.5, 0.1, 1.0, 0.3, 20),
    ]
    fields: dict[str, Any] = {
        "settings": {LUCKY: create("evs", retain=0.1), LARGER: create("evs", retain=0.5)},
        "results": results,
        "choice": results[0],
        "frontier": [LUCKY, LARGER],
        "ladder": [LUCKY, LARGER],
        "searched": lucky,
        "tested": others,
        "calibrated_on": others,
        "complete": True,
        "seconds_each": None,
        "baseline": {str(n): [observed(100, 0.0)] for n in range(40)},
        "left_out": ["left out: x.mp4 can't be read"],
    }
    return Search(**fields | changed)


def test_the_winners_luck_is_not_in_what_is_said_of_it() -> None:
    search = found()
    tuned = tuned_on(search, TUNE)
    assert tuned.agreement == 0.5  # on the videos that it won on, all
    low, high = tuned.interval
    assert low < 0.5 < high < TUNE.target
    report = report_of(search, TUNE, MODEL, tuned)
    assert any("it looked better than it is" in sentence for sentence in report.warnings)
    first = report.rows[0]
    assert (first.agreement, first.tested, first.chosen) == (1.0, 0.5, True)
    assert [row.chosen for row in report.rows] == [True, False]
    assert report.warnings[0] == "left out: x.mp4 can't be read"


def test_a_run_without_enough_time_says_what_it_compared() -> None:
    whole, cut = found(), found(complete=False, seconds_each=1.25)
    cut = replace(cut, settings={**cut.settings, "third": create("evs", retain=0.2)})
    for search, number in ((whole, 0), (cut, 1), (replace(cut, seconds_each=None), 1)):
        report = report_of(search, TUNE, MODEL, tuned_on(search, TUNE))
        told = [sentence for sentence in report.warnings if "sufficed to compare" in sentence]
        assert len(told) == number
        assert report.complete == (not number)
        for sentence in told:
            assert "--minutes 20 sufficed to compare 2 of 3 settings" in sentence
            assert "on 20 videos" in sentence
            assert ("1.2 s per setting and video" in sentence) == (search.seconds_each is not None)
    assert (report.compared, report.settings) == (2, 3)


def test_rows_are_cheapest_first_and_videos_are_those_of_both_halves() -> None:
    search = found(results=found().results[::-1])
    tuned = tuned_on(search, TUNE)
    assert [row.setting for row in report_of(search, TUNE, MODEL, tuned).rows] == [LUCKY, LARGER]
    assert (tuned.videos, tuned.questions) == (40, 40)


def test_the_guard_rests_on_the_other_videos_alone() -> None:
    report = report_of(found(), TUNE, MODEL, tuned_on(found(), TUNE))
    of_95 = [promise for promise in report.guard if not promise.on_average]
    assert [(one.videos, one.missing) for one in of_95] == [
        (20, videos_needed(one.alpha) - 20) for one in of_95
    ]
    assert len(found().tries) == 20


def test_a_choice_that_the_test_doesnt_refute_has_no_warning() -> None:
    search = found(tested=found().searched)
    tuned = tuned_on(search, TUNE)
    assert tuned.interval[0] < TUNE.target < tuned.interval[1]  # of 20 videos
    warnings = report_of(search, TUNE, MODEL, tuned).warnings
    assert not any("better than it is" in sentence for sentence in warnings)


def test_a_guard_gets_each_question_at_each_budget() -> None:
    def answer(probability: float, same: bool) -> Observation:
        return replace(observed(10, 0.1, same=same), certainty=Certainty(probability, 0.7, -0.2))

    whole = {
        LUCKY: [answer(0.1, same=False), answer(0.2, same=True)],
        LARGER: [answer(0.3, same=True), answer(0.4, same=True)],
    }
    # Of a video that there was no time for under every budget, nothing is known.
    tries = found(calibrated_on=[whole, {LARGER: whole[LARGER]}, {LUCKY: whole[LUCKY]}]).tries
    first = Attempt(0.1, same=False), Attempt(0.3, same=True)
    assert tries == ((first, (Attempt(0.2, same=True), Attempt(0.4, same=True))),)


def test_a_choice_that_nothing_was_left_to_test_says_so() -> None:
    search = found(tested=[], calibrated_on=[])
    tuned = tuned_on(search, TUNE)
    assert (tuned.agreement, tuned.interval) == (None, ())
    warnings = report_of(search, TUNE, MODEL, tuned).warnings
    assert any("no time was left to test the choice" in sentence for sentence in warnings)


@pytest.mark.parametrize("questions", [("?",), ()])
def test_no_choice_is_the_baseline(questions: tuple[str, ...]) -> None:
    tuning = Tune(("a", "b", "c", "d"), questions, None, BUNDLED)
    search = found(choice=None)
    report = report_of(search, tuning, MODEL, tuned_on(search, tuning))
    assert report.choice == "none"
    # The baseline agrees with itself on each of the 20 videos, and more isn't known.
    assert report.tuned.agreement == 1
    assert report.tuned.interval == pytest.approx((0.025 ** (1 / 20), 1), abs=2e-3)
    untested = found(choice=None, tested=[])
    assert (tuned_on(untested, tuning).agreement, tuned_on(untested, tuning).interval) == (None, ())
    assert any("so the baseline is chosen" in sentence for sentence in report.warnings)
    general = any("general questions" in sentence for sentence in report.warnings)
    assert general == report.general_questions == (not questions)


@pytest.mark.parametrize(("typed", "score"), [(False, 0.9), (True, 0.6)])
def test_a_guard_is_calibrated_on_the_signal_of_its_questions(typed: bool, score: float) -> None:
    one = replace(observed(10, 0.1), certainty=Certainty(0.9, 0.6, -0.1))
    search = found(typed=typed, calibrated_on=[{LUCKY: [one], LARGER: [one]}])
    assert search.tries == (((Attempt(score, True), Attempt(score, True)),),)

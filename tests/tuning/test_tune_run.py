"""A search's halves, its time and its order, with a meter that has the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dycoke_cli.compression.registry import create, name_of
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model as resolve
from dycoke_cli.tuning.search import Measured, Observation, grid, ladder_of
from dycoke_cli.tuning.tune_request import Tune
from dycoke_cli.tuning.tune_run import Search, _search
from tests.tuning.test_search import observed

VIDEOS = tuple("abcdefgh")
TUNE = Tune(VIDEOS, ("?",), None, BUNDLED)
BUDGETS = {name_of(m): m for m in (create("evs", retain=share) for share in (0.1, 0.25, 0.5))}
SMALL, MIDDLE, LARGE = BUDGETS
READ = {SMALL: 10, MIDDLE: 25, LARGE: 50}


class Answers:
    """As much of a `Meter` as a search needs: it measures what it is asked, and writes it down.

    Args:
        fits: how many settings of a video there is time for, by video; None for all.
    """

    def __init__(self, fits: int | None = None, late: str = "") -> None:
        self.asked: list[tuple[str, tuple[str, ...], float, float]] = []
        self.baseline: dict[str, list[Observation]] = {}
        self.left_out: list[str] = []
        self.elapsed, self.seconds_each, self.cut = 0.6, 1.5, False
        self._fits, self._late = fits, late

    def order(self) -> list[str]:
        return list(VIDEOS)

    def measure(
        self, video: str, settings: Sequence[str], until: float, latest: float
    ) -> Measured | None:
        self.asked.append((video, tuple(settings), until, latest))
        if video in self._late:
            self.cut = True
            return None
        self.baseline[video] = [observed(100, 0.0)]
        return {
            name: [observed(READ.get(name, 60), 1 / READ.get(name, 60), same=name != SMALL)]
            for name in settings[: self._fits]
        }


def search(meter: Answers, settings: Any = BUDGETS) -> Search:
    answers: Any = meter
    return _search(TUNE, settings, answers)


def test_every_other_video_is_searched_on_and_the_rest_tests_what_is_reported() -> None:
    meter = Answers()
    found = search(meter)
    assert [asked[0] for asked in meter.asked] == [*"aceg", *"bdfh"]
    assert found.name == MIDDLE  # the cheapest that agrees
    assert (len(found.searched), len(found.tested)) == (4, 4)
    # The choice first, then what a guard would ask.
    assert all(names == (MIDDLE, SMALL, LARGE) for _, names, *_ in meter.asked[4:])
    assert found.complete


def test_the_search_ends_in_time_for_a_test_and_videos_have_their_shares() -> None:
    meter = Answers()
    search(meter)
    times = {video: (until, latest) for video, _, until, latest in meter.asked}
    # The baseline counts as a setting; three of these settings stay to the end.
    assert [times[video][0] for video in "aceg"] == pytest.approx([0.15, 0.3, 0.45, 0.6])
    assert [times[video][1] for video in "aceg"] == [1.0, 0.6, 0.6, 0.6]
    # Of the 40 % that are left, a quarter each.
    assert [times[video][0] for video in "bdfh"] == pytest.approx([0.7, 0.8, 0.9, 1.0])
    assert {times[video][1] for video in "bdfh"} == {1.0}


def test_a_guard_isnt_calibrated_on_videos_that_its_ladder_was_chosen_by() -> None:
    fixed = search(Answers())
    assert len(fixed.calibrated_on) == len(fixed.tries) == 8
    other = {"dycoke": create("dycoke")}
    chosen = search(Answers(), BUDGETS | other)
    assert chosen.ladder == [SMALL, MIDDLE, LARGE]
    assert chosen.calibrated_on == chosen.tested
    assert len(chosen.tries) == 4


def test_what_comes_closest_is_tested_where_nothing_is_chosen() -> None:
    meter = Answers()
    found = search(meter, {name: BUDGETS[name] for name in (SMALL,)})
    assert (found.choice, found.name) == (None, "none")
    assert meter.asked[-1][1] == (SMALL,)


def test_time_that_is_up_leaves_a_result_of_what_there_is() -> None:
    found = search(Answers(fits=1, late="cegbdfh"))
    assert (len(found.searched), len(found.tested)) == (1, 0)
    assert [one.setting for one in found.results] == [SMALL]  # there was no time for others
    assert (found.compared, found.complete) == (1, False)


def test_no_time_at_all_says_how_many_minutes() -> None:
    with pytest.raises(UsageError, match=r"the 20 minutes were over .* give --minutes 40 or more"):
        search(Answers(late="abcdefgh"))


def test_the_grid_begins_with_likely_settings() -> None:
    settings = grid(resolve("mini", LoadOptions()))
    names = [name_of(method) for method in settings]
    assert len(set(names)) == len(names) > 100
    kinds = [method.name for method in settings]
    # The defaults of each method at each budget; then what is varied.
    assert kinds[:7] == ["dycoke"] * 3 + ["dycoke-plus"] * 3 + ["fastv"]
    assert [m.parameters()["merge_ratio"] for m in settings[:3]] == [0.9, 0.7, 0.5]
    first_variation = next(n for n, m in enumerate(settings) if "prune_layer=3" in names[n])
    assert set(kinds[:first_variation]) == set(kinds)
    # Behind them the controls.
    controls = {"random", "uniform-frames", "uniform-spatial", "downsample"}
    assert set(kinds[first_variation - 12 : first_variation]) == controls
    assert set(kinds[: first_variation - 12]).isdisjoint(controls)
    assert kinds[-1] in controls


def test_a_ladder_is_one_methods_budgets_smallest_first() -> None:
    among = {name_of(method): method for method in grid(resolve("mini", LoadOptions()))}
    base = create("dycoke-plus", retain=0.25, positions="renumbered")
    name = next(n for n, m in among.items() if m.parameters() == base.parameters())
    ladder = ladder_of(among[name], among)
    assert [among[each].parameters()["retain"] for each in ladder] == [0.1, 0.25, 0.5]
    assert {among[each].parameters()["positions"] for each in ladder} == {"renumbered"}
    ladder = ladder_of(next(iter(among.values())), among)
    assert [among[each].parameters()["merge_ratio"] for each in ladder] == [0.9, 0.7, 0.5]

"""The search for time ranges, against answers that are computed from the true range."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dycoke_cli.answer.time_range import TimeRange
from dycoke_cli.runs.time_search import Probability, TimeSearch

SEARCH = TimeSearch(begin_s=10.0, end_s=90.0, window_s=10.0)
STEP_S = 10.0 / 32


def lasts(*true: tuple[float, float]) -> Probability:
    """Yes where any of the ranges can be seen in part, as of something that is there."""
    return lambda start, end: 0.9 if any(start < b and end > a for a, b in true) else 0.1


def happens(*true: tuple[float, float]) -> Probability:
    """Yes where any of the ranges can be seen whole, as of something that happens."""
    return lambda start, end: 0.9 if any(start <= a and b <= end for a, b in true) else 0.1


@pytest.mark.parametrize("kind", [lasts, happens])
@pytest.mark.parametrize(
    "true",
    [
        [(30.2, 33.1)],
        [(10.0, 14.0)],
        [(86.4, 90.0)],
        [(14.9, 15.2), (40.0, 44.0), (71.0, 75.5)],
    ],
)
def test_ranges_are_found_to_a_fraction_of_a_window(
    kind: type, true: list[tuple[float, float]]
) -> None:
    found = SEARCH.ranges(kind(*true))
    assert [(one.start, one.end) for one in found] == [
        (pytest.approx(a, abs=STEP_S), pytest.approx(b, abs=STEP_S)) for a, b in true
    ]
    for one in found:
        assert one.inside == 0.9
        assert one.outside == 0.1


def test_something_that_lasts_longer_than_a_window() -> None:
    [one] = SEARCH.ranges(lasts((22.0, 71.3)))
    assert (one.start, one.end) == (
        pytest.approx(22.0, abs=STEP_S),
        pytest.approx(71.3, abs=STEP_S),
    )


def test_what_is_there_all_the_time_has_nothing_outside() -> None:
    assert SEARCH.ranges(lasts((0.0, 100.0))) == (TimeRange(10.0, 90.0, 0.9, None),)


def test_what_is_never_there_is_not_found() -> None:
    assert SEARCH.ranges(lasts()) == ()
    # A video shorter than a window is asked about at once.
    asked = []

    def never(start: float, end: float) -> float:
        asked.append((start, end))
        return 0.2

    assert TimeSearch(0.0, 5.0, 10.0).ranges(never) == ()
    assert asked == [(0.0, 5.0)]


def test_windows_overlap_by_half_or_more_and_reach_both_ends() -> None:
    for search in (SEARCH, TimeSearch(0.0, 33.0, 10.0), TimeSearch(3.0, 14.0, 10.0)):
        windows = search.windows()
        assert (windows[0][0], windows[-1][1]) == (search.begin_s, pytest.approx(search.end_s))
        for (start, end), (following, _) in pairwise(windows):
            assert end - start == pytest.approx(search.window_s)
            assert 0 < following - start <= search.window_s / 2


def test_a_range_that_is_no_likelier_than_what_is_beside_it_is_not_found() -> None:
    """As of a model that also says yes to what is behind the range, where no window begins."""
    there = lasts((32.0, 34.0))
    assert len(SEARCH.ranges(there)) == 1

    def erratic(start: float, end: float) -> float:
        return 0.9 if start > 34 and start % 5 and end - start > 9 else there(start, end)

    assert SEARCH.ranges(erratic) == ()

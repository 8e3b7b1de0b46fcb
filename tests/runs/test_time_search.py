"""`--when`: the search for times, and what it warns of."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from dycoke_cli.answer.answer import Answer, Scoring, Seconds, TimeRange
from dycoke_cli.engine.context import ONE_FRAME
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.parts import (
    Part,
    Probability,
    TimeSearch,
    _warnings,
    find_when,
    usual_window_s,
)
from dycoke_cli.video.sampling import Sampling
from tests.documents import example

SEARCH = TimeSearch(begin_s=10.0, end_s=90.0, window_s=10.0)
STEP_S = 10.0 / 32


def lasts(*true: tuple[float, float]) -> Probability:
    """Yes where any of the ranges can be seen in part, as of something that is there."""
    return lambda start, end: 0.9 if any(start < b and end > a for a, b in true) else 0.1


def happens(*true: tuple[float, float]) -> Probability:
    """Yes where any of the ranges can be seen whole, as of something that happens."""
    return lambda start, end: 0.9 if any(start <= a and b <= end for a, b in true) else 0.1


def test_what_is_there_all_the_time_has_nothing_outside() -> None:
    assert SEARCH.ranges(lasts((0.0, 100.0))) == (TimeRange(10.0, 90.0, 0.9, None),)
    assert SEARCH.ranges(lambda *_: 0.5) == (TimeRange(10.0, 90.0, 0.5, None),)


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


@pytest.mark.parametrize(("beside", "found"), [(0.9, 0), (0.5, 0), (0.49, 1)])
def test_a_range_that_is_no_likelier_than_what_is_beside_it_is_not_found(
    beside: float, found: int
) -> None:
    """As of a model that also says yes to what is behind the range, where no window begins."""
    there = lasts((32.0, 34.0))
    assert len(SEARCH.ranges(there)) == 1

    def erratic(start: float, end: float) -> float:
        return beside if start > 34 and start % 5 and 9 < end - start < 11 else there(start, end)

    assert len(SEARCH.ranges(erratic)) == found


KINDS = {"lasts": lasts, "happens": happens}
"""A faultless model: what is in the part decides, and nothing else."""


def videos(*seed: object) -> Iterator[tuple[random.Random, TimeSearch]]:
    """Forty videos of 1 to 20 minutes, with windows as `--when` has them by default."""
    chance = random.Random(repr(seed))
    for _ in range(40):
        length = chance.uniform(60, 1200)
        yield chance, TimeSearch(0.0, length, usual_window_s(length))


def found_in(search: TimeSearch, yes: Probability) -> list[Part]:
    """The ranges found; each part of the video is asked about once at most."""
    asked = Counter[Part]()

    def counted(start: float, end: float) -> float:
        assert search.begin_s <= start < end <= search.end_s
        asked[start, end] += 1
        return yes(start, end)

    ranges = search.ranges(counted)
    assert max(asked.values()) == 1
    return [(one.start, one.end) for one in ranges]


def near(true: Sequence[Part], search: TimeSearch) -> list[Part]:
    """The true edges, and two 32nds of a window of which a found one may be outside of it."""
    step = search.window_s / 32
    return [(pytest.approx(a - step, abs=step), pytest.approx(b + step, abs=step)) for a, b in true]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1 / 128, 1 / 64, 1 / 32, 3 / 64, 0.1, 0.5, 0.75, 1, 1.5, 3])
def test_one_event_is_found_however_short_or_long(kind: str, length: float) -> None:
    """Lengths are in windows."""
    for chance, search in videos(kind, length):
        start = chance.uniform(0, search.end_s - length * search.window_s)
        true = (start, start + length * search.window_s)
        assert found_in(search, KINDS[kind](true)) == near([true], search)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", [0.25, 0.5, 0.75, 1, 1.25])
def test_two_events_less_than_a_window_apart_are_two(kind: str, gap: float) -> None:
    for chance, search in videos(kind, gap):
        window = search.window_s
        start = chance.uniform(0, search.end_s - (gap + 0.5) * window)
        second = start + (gap + 0.25) * window
        true = [(start, start + window / 4), (second, second + window / 4)]
        assert found_in(search, KINDS[kind](*true)) == near(true, search)


@pytest.mark.parametrize("kind", KINDS)
def test_several_events_that_are_half_a_window_apart(kind: str) -> None:
    for chance, search in videos(kind):
        true, time = list[Part](), 0.0
        for _ in range(4):
            start = time + chance.uniform(0.5, 2) * search.window_s
            time = start + chance.uniform(0.01, 1) * search.window_s
            true.append((start, time))
        true = [part for part in true if part[1] <= search.end_s]
        assert found_in(search, KINDS[kind](*true)) == near(true, search)


@pytest.mark.parametrize("start", [40.0, 40.1, 40.2, 40.3])
def test_an_event_that_no_piece_has_whole(start: float) -> None:
    true = [(start, start + 2), (start + 3, start + 7), (start + 9, start + 10)]
    assert found_in(SEARCH, happens(*true)) == near(true, SEARCH)


@pytest.mark.parametrize("gap", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("start", [40.0, 40.1, 40.2])
def test_events_that_touch_are_one_range(start: float, gap: float) -> None:
    true = [(start, start + 3), (start + 3 + gap, start + 6)]
    assert found_in(SEARCH, happens(*true)) == near([(start, start + 6)], SEARCH)


def test_a_trace_that_only_long_parts_have_is_not_another_range() -> None:
    """As of a model to which something is visible a bit longer, the more it sees beside it."""
    there = lasts((10.0, 34.0))
    [one] = SEARCH.ranges(
        lambda start, end: 0.9 if 34 < start < 36 and end - start > 20 else there(start, end)
    )
    assert (one.start, one.end) == (10.0, pytest.approx(34, abs=STEP_S))


def test_what_is_there_in_all_of_a_video_of_any_length() -> None:
    """Whatever rounding makes of the windows: nothing is beside it, not even for a moment."""
    for _, search in [each for seed in range(10) for each in videos(seed)]:
        assert found_in(search, lasts((0.0, 2000.0))) == [(0.0, search.end_s)]


def test_what_says_yes_to_anything_long_is_one_range() -> None:
    """As of a model that guesses: not a chain of ranges, each with nothing beside it."""
    [one] = SEARCH.ranges(lambda start, end: 0.9 if end - start > 13 else 0.1)
    assert (one.start, one.end, one.outside) == (10.0, 90.0, None)


def test_an_answer_at_random_ends_the_search() -> None:
    for chance, search in videos():
        share = chance.random()
        found_in(
            search, lambda start, end, share=share: float(random.Random(start).random() < share)
        )


def test_the_whole_is_asked_about_once_and_nothing_before_its_start() -> None:
    asked: list[Part | None] = []

    def ask(question: str, part: Part | None) -> Answer:
        asked.append(part)
        start, end = part or (2.0, 10.0)
        yes = 0.875 if start < 5 and end > 4 else 0.125
        return replace(
            example(Answer, question=question, seconds=example(Seconds, load=2.0, total=1.0)),
            probabilities={"yes": yes, "no": 1 - yes},
            scoring=example(Scoring, mass=0.75),
            warnings=("of a part" if part else "of the whole", f"{len(asked)} packets skipped"),
        )

    for window_s in (2.0, 8.0):  # as long as all of it
        asked.clear()
        found = find_when(ask, lambda: 10.0, Sampling(start_s=2.0), "Is it day?", window_s)
        [one] = found.when
        assert (one.start, one.end) == (pytest.approx(4, abs=0.25), pytest.approx(5, abs=0.25))
        whole, *parts = asked
        assert whole is None
        assert all(2 <= start < end <= 10 and end - start < 8 for start, end in parts)
        assert (found.seconds.total, found.seconds.load) == (len(asked), 2.0)
        assert found.warnings == ("of the whole", "1 packets skipped", "of a part")
    with pytest.raises(UsageError, match=r"parts of 5e-05 s are more than 100,000 in 8 s of video"):
        find_when(ask, lambda: 10.0, Sampling(start_s=2.0), "Is it day?", 5e-5)


def test_windows_are_an_eighth_of_the_video_within_bounds() -> None:
    assert [usual_window_s(length) for length in (4.0, 80.0, 1000.0)] == [2.0, 10.0, 60.0]


def test_a_part_of_one_frame_is_no_fault_of_the_video() -> None:
    one = example(Answer)
    answers = [
        replace(one, warnings=(ONE_FRAME, "3 damaged packets were skipped")),
        replace(one, warnings=("5 damaged packets were skipped",)),
    ]
    assert _warnings(answers) == ("3 damaged packets were skipped",)

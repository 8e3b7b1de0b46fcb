"""Times and frames of any sampling of any video, against brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dycoke_cli.errors import UsageError
from dycoke_cli.video.decoder_process import Seeker, nearest_frames
from dycoke_cli.video.sampling import Sampling, Window, parse_time, wanted_times, window
from tests.properties import QUICK

TEN_SECONDS = Window(0.0, 9.96, 10.0)  # 250 frames at 25 per second


def test_a_single_frame_comes_from_the_middle() -> None:
    assert wanted_times(Sampling(frames=1), Window(2.0, 4.0, 4.1))[0] == (3.0,)


@pytest.mark.parametrize(("end_s", "frames"), [(2 - 1e-8, 4), (2.0, 4), (2 + 1e-8, 4), (2.01, 5)])
def test_a_hair_more_than_a_step_makes_no_frame(end_s: float, frames: int) -> None:
    """An end is a sum of floating-point numbers."""
    times, _ = wanted_times(Sampling(fps=2), Window(0.0, 1.96, end_s))
    assert times == (0.0, 0.5, 1.0, 1.5, 2.0)[:frames]


def test_fps_above_max_frames_is_spread_evenly_and_says_so() -> None:
    times, warning = wanted_times(Sampling(fps=2, max_frames=5), TEN_SECONDS)
    np.testing.assert_allclose(times, np.linspace(0, 9.96, 5))
    assert warning == (
        "--fps 2 would take 20 frames: the 5 that --max-frames allows are spread evenly instead"
    )


def test_fps_of_a_very_long_video_is_refused() -> None:
    with pytest.raises(
        UsageError, match="--fps 30 would take 1,080,000 frames, the limit is 100,000"
    ):
        wanted_times(Sampling(fps=30), Window(0.0, 35999.0, 36000.0))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"frames": 100_001}, "frames must be 100,000 or fewer, not 100,001"),
        ({"fps": 1e308}, "fps must be 100,000 or fewer, not 1e+308"),
        ({"fps": 1e308, "max_frames": 5}, "fps must be 100,000 or fewer, not 1e+308"),
        (
            {"max_frames": 8},
            "max_frames limits parameter fps: give both, or parameter frames alone",
        ),
        ({"start_s": 5, "end_s": 5}, "end_s must be later than start_s (5 s), not 5 s"),
        ({"start_s": 5, "end_s": 2.5}, "end_s must be later than start_s (5 s), not 2.5 s"),
        ({"end_s": 0}, "end_s must be later than start_s (0 s), not 0 s"),
    ],
)
def test_out_of_range_names_the_flag_and_the_range(
    arguments: dict[str, float], sentence: str
) -> None:
    with pytest.raises(UsageError) as error:
        Sampling(**arguments)  # type: ignore[arg-type]
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"start_s": 2, "end_s": 4}, (2, 3.96, 4)),  # the last frame before the end
        ({"start_s": 2, "end_s": 2.01}, (2, 2, 2.01)),  # shorter than a frame: one moment
        ({"start_s": 9.98}, (9.98, 9.98, 10)),  # in the last frame
    ],
)
def test_a_part_begins_and_ends_with_frames(
    given: dict[str, float], expected: tuple[float, float, float]
) -> None:
    part = window(Sampling(**given), 9.96, 10.0, 0.04)  # type: ignore[arg-type]
    assert (part.first_s, part.last_s, part.end_s) == pytest.approx(expected)


def test_times_are_the_decimals_that_were_written() -> None:
    """0.3 in binary is 0.299999999999999988898, and 0.1 is larger than a tenth."""
    end = Fraction(10)
    part = window(Sampling(start_s=0.3, end_s=0.7), Fraction("9.96"), end, Fraction("0.1"))
    assert part == Window(Fraction(3, 10), Fraction(6, 10), Fraction(7, 10))
    times, _ = wanted_times(Sampling(fps=0.1), Window(Fraction(0), Fraction("9.96"), end * 3))
    assert times == (0, 10, 20)
    assert parse_time("1:00:00.1") == 3600.1


def test_start_beyond_the_end_is_refused() -> None:
    with pytest.raises(UsageError, match="--start 10 s lies beyond the end of the video, which is"):
        window(Sampling(start_s=10), 9.96, 10.0, 0.04)
    with pytest.raises(UsageError, match=r"--start 3900 s \(1:05:00\) lies beyond"):
        window(Sampling(start_s=3900), 9.96, 10.0, 0.04)


def test_extreme_numbers_that_are_in_range_end_in_times_or_a_sentence() -> None:
    longest = Window(0.0, 1e28, math.nextafter(1e28, math.inf))  # time stamps may be anything
    for part in (longest, TEN_SECONDS, Window(0.0, 0.0, 5e-324)):
        for fps in (1e5, 1e-5, 5e-324):
            spread, _ = wanted_times(Sampling(fps=fps, max_frames=3), part)
            assert 1 <= len(spread) <= 3
            assert all(math.isfinite(time) for time in spread)
    with pytest.raises(
        UsageError, match=r"--fps 100000 would take [\d,]+ frames, the limit is 100,000"
    ):
        wanted_times(Sampling(fps=1e5), longest)


def test_times_as_people_write_them() -> None:
    written = {"0": 0, ".5": 0.5, " 7 ": 7, "90s": 90, "90m": 5400, "5min": 300, "1h1m1.5s": 3661.5}
    assert {text: parse_time(text) for text in written} == written


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "1:60", "1:75:00", "1:2:3:4", "abc", "1e3", "nan", "1,5", "1m1h", "s"),
        *("٣", "\x1b"),  # a digit, but none of ASCII; what could move the cursor
        "9" * 400,  # too large for a float
        "9" * 400 + ":00:00",
        "9" * 5000 + ":00:00",  # too long for an int
        "x" * 5000,
    ],
)
def test_anything_else_is_refused_with_the_forms_that_work(text: str) -> None:
    with pytest.raises(UsageError, match=r"isn't a time: write seconds .* HH:MM:SS\.mmm") as error:
        parse_time(text)
    assert error.value.exit_code == 2
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 200


# Sixteenths of a second: floats hold them, and their sums.
GRID = 16


def seconds(least: int = 0, most: int = 40 * GRID) -> st.SearchStrategy[float]:
    return st.integers(least, most).map(lambda ticks: ticks / GRID)


@st.composite
def samplings(draw: st.DrawFn) -> Sampling:
    start = draw(st.none() | seconds())
    end = draw(st.none() | seconds(1).map(lambda length: (start or 0.0) + length))
    if draw(st.booleans()):
        return Sampling(frames=draw(st.integers(1, 50)), start_s=start, end_s=end)
    fps = draw(st.sampled_from([0.25, 0.3, 1.0, 2.0, 3.0, 7.5, 24.0, 29.97]))
    most = draw(st.none() | st.integers(1, 40))
    return Sampling(fps=fps, max_frames=most, start_s=start, end_s=end)


@QUICK
@given(samplings(), st.lists(seconds(), min_size=1, max_size=40, unique=True), seconds(1, GRID))
def test_times_are_those_of_the_rule(
    sampling: Sampling, frames: list[float], interval: float
) -> None:
    last = max(frames)
    end = last + interval
    start = sampling.start_s or 0.0
    if start >= end:
        try:
            window(sampling, last, end, interval)
        except UsageError:
            return
        raise AssertionError("a part behind the end was taken")
    part = window(sampling, last, end, interval)
    assert part.first_s == start
    assert part.first_s <= part.last_s
    assert part.end_s == min(end, sampling.end_s or end)
    wanted, warning = wanted_times(sampling, part)
    times = [float(time) for time in wanted]
    assert times == sorted(times)
    assert part.first_s <= times[0]
    assert times[-1] <= max(part.last_s, part.end_s)
    if sampling.fps is None:
        assert (len(times), warning) == (sampling.frames, None)
        if sampling.frames > 1:
            np.testing.assert_allclose(
                times, np.linspace(start, float(part.last_s), sampling.frames)
            )
        return
    # Every 1/fps seconds from the start on, and none at the end: counted, exactly.
    step, length = 1 / Fraction(sampling.fps), Fraction(part.end_s) - Fraction(start)
    steps = max(1, math.ceil(length / step))
    if sampling.max_frames is not None and steps > sampling.max_frames:
        assert len(times) == sampling.max_frames
        assert warning is not None
        return
    assert warning is None
    assert len(times) == steps
    np.testing.assert_allclose(times, [start + float(n * step) for n in range(steps)])


class Film:
    """A video of frames at these times, as `nearest_frames` reads it; `keys` can be sought.

    An index shows where the keyframes are before one is sought.
    """

    def __init__(self, times: list[float], keys: list[int], seekable: bool, index: bool) -> None:
        self.times, self.keys, self.seekable = times, sorted({0, *keys}), seekable
        self.index = index
        self.interval = Fraction(1, GRID)
        self._at = 0

    def pictures(self) -> Iterator[Any]:
        while self._at < len(self.times):
            self._at += 1
            yield SimpleNamespace(
                time_s=self.times[self._at - 1], frame=SimpleNamespace(width=1, height=1)
            )

    def seek(self, time_s: float) -> float | None:
        before = [key for key in self.keys if self.times[key] <= time_s + 1e-6]
        if not before:
            self.rewind()
            return None
        self._at = before[-1]
        return self.times[self._at]

    def leads_on(self, time_s: float, position_s: float) -> bool:
        at = max(self.times[key] for key in self.keys if self.times[key] <= time_s + 1e-6)
        return self.seekable and (not self.index or at > position_s)

    def rewind(self) -> None:
        self._at = 0


@QUICK
@given(
    st.lists(seconds(), min_size=1, max_size=40, unique=True),
    st.lists(st.integers(0, 39), max_size=8),
    st.booleans(),
    st.booleans(),
    st.lists(seconds(), min_size=1, max_size=12, unique=True),
    seconds(1),
)
def test_frames_are_the_nearest_of_the_part(
    late: list[float],
    keys: list[int],
    seekable: bool,
    index: bool,
    wanted: list[float],
    length: float,
) -> None:
    times = [time - min(late) for time in sorted(late)]  # the first frame is at 0
    wanted = sorted(wanted)
    part = Window(wanted[0], wanted[-1], max(wanted[-1], wanted[0] + length / 2) + 1 / GRID)
    film = Film(times, [key for key in keys if key < len(times)], seekable, index)
    found = [p.time_s for p in nearest_frames(Seeker(film), wanted, part)]  # type: ignore[arg-type]
    inside = [time for time in times if part.first_s <= time < part.end_s]
    if not inside:  # the one that is shown when the part begins
        assert found == [max(time for time in times if time <= part.first_s)]
        return
    nearest = [min(inside, key=lambda time: (abs(time - moment), time)) for moment in wanted]
    assert found == sorted(set(nearest))


@QUICK
@given(st.integers(0, 10**7), st.sampled_from(["s", "m", "h"]))
def test_a_time_is_read_as_it_is_written(milliseconds: int, form: str) -> None:
    seconds_, thousandths = divmod(milliseconds, 1000)
    minutes, rest = divmod(seconds_, 60)
    hours, minutes_ = divmod(minutes, 60)
    text = {
        "s": f"{seconds_}.{thousandths:03}",
        "m": f"{minutes}:{rest:02}.{thousandths:03}",
        "h": f"{hours}:{minutes_:02}:{rest:02}.{thousandths:03}",
    }[form]
    assert math.isclose(parse_time(text), milliseconds / 1000, rel_tol=1e-12)


@QUICK
@given(st.text("0123456789:. +-eEnaif\u0663\x1b", max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        found = parse_time(text)
    except UsageError:
        return
    assume(not math.isnan(found))
    assert 0 <= found < math.inf

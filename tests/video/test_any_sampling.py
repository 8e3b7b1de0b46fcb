"""Any sampling of any video: times and frames against brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from dycoke_cli.errors import UsageError
from dycoke_cli.video.decode import Seeker, nearest_frames
from dycoke_cli.video.sampling import Sampling, Window, parse_time, wanted_times, window
from tests.properties import QUICK

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
            yield SimpleNamespace(time_s=self.times[self._at - 1], size=(64, 48))

    def seek(self, time_s: float) -> float | None:
        before = [key for key in self.keys if self.times[key] <= time_s + 1e-6]
        if not before:
            return None
        self._at = before[-1]
        return self.times[self._at]

    def leads_on(self, time_s: float, position_s: float) -> bool:
        at = max(self.times[key] for key in self.keys if self.times[key] <= time_s + 1e-6)
        return not self.index or at > position_s

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

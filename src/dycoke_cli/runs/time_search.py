"""Search for the time ranges of a video in which a yes-or-no question is answered with yes.

It asks about parts of the video, and knows neither model nor file. First about windows that overlap
by half. Where neighbouring windows say yes, two bisections find the edges of the range: the
earliest end and the latest start with which the answer is still yes. Of something that is seen at
once and lasts (a person is there) these are its start and its end; of something that must be seen
whole (a person enters) its end and its start. Then the range is checked, inside and beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dycoke_cli.answer.time_range import TimeRange

Probability = Callable[[float, float], float]
"""Probability of yes about the part of a video from a start to an end, in seconds."""

Part = tuple[float, float]
"""Start and end, in seconds."""

YES = 0.5
_STEPS = 5
"""Of a bisection: an edge is known to a 32nd of a window."""


@dataclass(frozen=True)
class TimeSearch:
    """Search in a part of a video.

    Args:
        begin_s: start of the part in seconds.
        end_s: its end.
        window_s: length of a window; the part is one window where it isn't longer.
    """

    begin_s: float
    end_s: float
    window_s: float

    def windows(self) -> list[Part]:
        """Windows that overlap by half, evenly spaced from the start of the part to its end."""
        spare = self.end_s - self.begin_s - self.window_s
        if spare <= 0:
            return [(self.begin_s, self.end_s)]
        count = -(-2 * spare // self.window_s)
        starts = [self.begin_s + spare * number / count for number in range(int(count) + 1)]
        return [(start, start + self.window_s) for start in starts]

    def ranges(self, yes: Probability) -> tuple[TimeRange, ...]:
        """Ranges in which the answer is yes, ascending; empty where none passes its check."""
        found = [_edges(yes, *run) for run in self._runs(yes)]
        return tuple(one for one in self._checked(yes, found) if _passes(one))

    def _runs(self, yes: Probability) -> Iterator[tuple[Part, Part]]:
        """First and last window of each stretch of neighbouring windows that say yes."""
        first = last = None
        for window in self.windows():
            if yes(*window) >= YES:
                first, last = first or window, window
            elif first is not None and last is not None:
                yield first, last
                first = last = None
        if first is not None and last is not None:
            yield first, last

    def _checked(self, yes: Probability, found: list[Part]) -> Iterator[TimeRange]:
        ends = [self.begin_s, *(end for _, end in found)]
        starts = [*(start for start, _ in found), self.end_s]
        for number, (start, end) in enumerate(found):
            before = max(ends[number], start - self.window_s), start
            behind = end, min(starts[number + 1], end + self.window_s)
            beside = [yes(*part) for part in (before, behind) if part[1] > part[0]]
            yield TimeRange(start, end, yes(start, end), max(beside, default=None))


def _edges(yes: Probability, first: Part, last: Part) -> Part:
    """Edges of a range that begins in the first of some windows and ends in the last one."""
    too_early, earliest_end = _bisected(lambda time: yes(first[0], time) >= YES, *first)
    too_late, latest_start = _bisected(lambda time: yes(time, last[1]) >= YES, last[1], last[0])
    if latest_start < earliest_end:
        return latest_start, earliest_end
    # It is seen at once, so what is beside the range must end before it is.
    return too_early, too_late


def _bisected(holds: Callable[[float], bool], without: float, with_it: float) -> Part:
    """The nearest times without and with a condition, in a 32nd of the distance between the two."""
    for _ in range(_STEPS):
        middle = (without + with_it) / 2
        if holds(middle):
            with_it = middle
        else:
            without = middle
    return without, with_it


def _passes(found: TimeRange) -> bool:
    return found.inside >= YES and (found.outside is None or found.outside < YES)

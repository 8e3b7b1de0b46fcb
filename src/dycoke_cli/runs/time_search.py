"""Search for the time ranges of a video in which a yes-or-no question is answered with yes.

It asks about parts of the video, and knows neither model nor file. The answer about a part is
supposed to be yes if the part has any of a range (a person is there), or if it has all of a range
(a person enters); which of the two, the search finds out.

1. Windows that overlap by half cover the video. Neighbours that say yes are a run.
2. Bisections find where the first range of a run ends and where its last one begins. Of something
   that is there, these are the first moment at which it is seen, and the last one.
3. What is in between is asked about in pieces. Where one says no, the run has several ranges.
4. Unless something lasts: a stretch without any range is asked about as a whole, because an event
   that must be seen whole may be longer than the windows. They are then twice as long.
5. Each range is checked, inside and beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from dycoke_cli.answer.answer import TimeRange

Probability = Callable[[float, float], float]
"""Probability of yes about the part of a video from a start to an end, in seconds."""

Part = tuple[float, float]
"""Start and end, in seconds."""

YES = 0.5
_STEPS = 32
"""An edge is known to this fraction of a window."""
_PIECES = 4
"""A piece between two edges is at most this fraction of a window long."""


@dataclass(frozen=True)
class TimeSearch:
    """Search in a part of a video."""

    begin_s: float  # start of the part in seconds
    end_s: float  # its end
    window_s: float  # length of a window; the part is one window where it isn't longer

    def windows(self) -> list[Part]:
        """Windows that overlap by half, evenly spaced from the start of the part to its end."""
        spare = self.end_s - self.begin_s - self.window_s
        if spare <= 0:
            return [(self.begin_s, self.end_s)]
        count = int(-(-2 * spare // self.window_s))
        starts = [self.begin_s + spare * number / count for number in range(count)]
        # The last one ends with the part, whatever rounding makes of its start.
        ends = [start + self.window_s for start in starts]
        return [*zip(starts, ends, strict=True), (self.end_s - self.window_s, self.end_s)]

    def ranges(self, yes: Probability) -> tuple[TimeRange, ...]:
        """Ranges in which the answer is yes, ascending; empty where none passes its check."""
        yes = cache(yes)
        found = _Ranges(yes, min(self.window_s, self.end_s - self.begin_s)).of(self)
        return tuple(one for one in self._checked(yes, found) if _passes(one))

    def _checked(self, yes: Probability, found: list[Part]) -> Iterator[TimeRange]:
        ends = [self.begin_s, *(end for _, end in found)]
        starts = [*(start for start, _ in found), self.end_s]
        for number, (start, end) in enumerate(found):
            before = max(ends[number], start - self.window_s), start
            behind = end, min(starts[number + 1], end + self.window_s)
            beside = [yes(*part) for part in (before, behind) if part[1] > part[0]]
            yield TimeRange(start, end, yes(start, end), max(beside, default=None))


class _Ranges:
    """The ranges of a search, unchecked. The edges of each are just outside it."""

    def __init__(self, yes: Probability, window_s: float) -> None:
        self._probability = yes
        self._step_s, self._piece_s = window_s / _STEPS, window_s / _PIECES
        self._lasting = False

    def of(self, search: TimeSearch) -> list[Part]:
        """The ranges of a search, ascending."""
        found = [part for run in self._runs(search.windows()) for part in self._in_run(*run)]
        # What is seen at once and lasts was in a window.
        if self._lasting or search.window_s >= search.end_s - search.begin_s:
            return [*self._joined(found)]
        starts = [search.begin_s, *(end for _, end in found)]
        ends = [*(start for start, _ in found), search.end_s]
        for start, end in zip(starts, ends, strict=True):
            if end - start > search.window_s and self._yes(start, end):
                found += self.of(TimeSearch(start, end, 2 * search.window_s))
        return [*self._joined(sorted(found))]

    @staticmethod
    def _joined(found: list[Part]) -> Iterator[Part]:
        """Ranges that ascend by their start; those that touch or overlap are one."""
        before: Part | None = None
        for start, end in found:
            if before is not None and start <= before[1]:
                before = before[0], max(before[1], end)
                continue
            if before is not None:
                yield before
            before = start, end
        if before is not None:
            yield before

    def _yes(self, start: float, end: float) -> bool:
        return self._probability(start, end) >= YES

    def _runs(self, windows: list[Part]) -> Iterator[tuple[Part, Part]]:
        """First and last window of each stretch of neighbouring windows that say yes."""
        first = last = None
        for window in windows:
            if self._yes(*window):
                first, last = first or window, window
            elif first is not None and last is not None:
                yield first, last
                first = last = None
        if first is not None and last is not None:
            yield first, last

    def _in_run(self, first: Part, last: Part) -> Iterator[Part]:
        ends = self._first_end(first[0], *first)
        starts = self._last_start(last[1], last[1], last[0])
        return self._between((first[0], last[1]), ends, starts)

    def _between(
        self, part: Part, ends: Part, starts: Part, *, seen: bool = False
    ) -> Iterator[Part]:
        """The ranges of a part that says yes."""
        begin, end = part
        whole = min(ends[0], starts[1]), max(ends[1], starts[0])
        if not self._yes(*whole):
            # Neither all of the first range is in it nor all of the last one.
            stop: float | None = max(ends[1], starts[1])
        else:
            stop = None if seen else self._stop(ends[1], starts[1])
        if stop is None or stop >= end:
            self._lasting |= starts[1] - ends[1] > self._step_s
            yield whole
            return
        earlier = [
            *self._between((begin, stop), ends, self._last_start(stop, stop, begin), seen=True)
        ]
        yield from earlier
        begin = min(earlier[-1][1], starts[1])
        yield from self._between((begin, end), self._first_end(begin, stop, end), starts)

    def _stop(self, first: float, last: float) -> float | None:
        """End of the first piece between two times that says no; None where none does."""
        if last - first <= self._step_s:
            return None
        count = math.ceil((last - first) / self._piece_s)
        length = (last - first) / count
        # The edges of events aren't exact, either: an eighth at each side isn't asked about.
        pieces = (
            (first + length * (n + 1 / 8), first + length * (n + 7 / 8)) for n in range(count)
        )
        return next((end for start, end in pieces if not self._yes(start, end)), None)

    def _first_end(self, begin: float, without: float, with_it: float) -> Part:
        """Nearest ends without and with a yes about what begins at a time; the first of them."""
        return self._bisected(lambda time: self._yes(begin, time), without, with_it)

    def _last_start(self, end: float, without: float, with_it: float) -> Part:
        """Nearest starts without and with a yes about what ends at a time; the last of them."""
        return self._bisected(lambda time: self._yes(time, end), without, with_it)

    def _bisected(self, holds: Callable[[float], bool], without: float, with_it: float) -> Part:
        # A window has `_STEPS` steps, and rounding mustn't add a question.
        while abs(with_it - without) > 1.001 * self._step_s:
            middle = (without + with_it) / 2
            if holds(middle):
                with_it = middle
            else:
                without = middle
        return without, with_it


def _passes(found: TimeRange) -> bool:
    return found.inside >= YES and (found.outside is None or found.outside < YES)

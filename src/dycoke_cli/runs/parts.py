"""Questions about parts of a video: each of a length (`--every`), or those of a search (`--when`).

The search for times asks yes-or-no questions about parts, and knows neither model nor file. The
answer about a part is supposed to be yes if the part has any of a range (a person is there), or if
it has all of a range (a person enters); which of the two, the search finds out.

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
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import chain, count, groupby
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import LEAST_MASS, Answer, Seconds, TimeRange
from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.ask import Answered, Ask, Failed, Seen
from dycoke_cli.engine.context import ONE_FRAME
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.asker import Asker
from dycoke_cli.loop.reading import usual_decoders
from dycoke_cli.runs.converse import converse
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video.sampling import exact, format_part

if TYPE_CHECKING:
    from dycoke_cli.video.clip import VideoInfo
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.sampling import Sampling


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
        return tuple(
            one
            for one in self._checked(yes, found)
            if one.inside >= YES and (one.outside is None or one.outside < YES)
        )

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
            return self._joined(found)
        starts = [search.begin_s, *(end for _, end in found)]
        ends = [*(start for start, _ in found), search.end_s]
        for start, end in zip(starts, ends, strict=True):
            if end - start > search.window_s and self._yes(start, end):
                found += self.of(TimeSearch(start, end, 2 * search.window_s))
        return self._joined(sorted(found))

    @staticmethod
    def _joined(found: list[Part]) -> list[Part]:
        """Ranges that ascend by their start; those that touch or overlap are one."""
        joined: list[Part] = []
        for start, end in found:
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(joined[-1][1], end)
            else:
                joined.append((start, end))
        return joined

    def _yes(self, start: float, end: float) -> bool:
        return self._probability(start, end) >= YES

    def _runs(self, windows: list[Part]) -> Iterator[tuple[Part, Part]]:
        """First and last window of each stretch of neighbouring windows that say yes."""
        for says_yes, windows_of in groupby(windows, lambda window: self._yes(*window)):
            if says_yes:
                first, *others = windows_of
                yield first, others[-1] if others else first

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


MOST_PARTS = 100_000
"""Parts of one video that are listed, or windows that are searched; each is a question."""


@dataclass(frozen=True)
class Parts:
    """Parts of a video, one behind the other from `--start` to `--end`; the last may be shorter."""

    every_s: float  # length of a part in seconds, above 0
    until: str | None = None  # the answer at which to stop; None asks about all parts

    def of(self, sampling: Sampling) -> Iterator[Part]:
        """The parts of a sampling's, without an end where it has none."""
        begin_s, every_s = exact(sampling.start_s or 0.0), exact(self.every_s)
        for number in count():
            start_s, end_s = (float(begin_s + n * every_s) for n in (number, number + 1))
            yield start_s, min(end_s, sampling.end_s or math.inf)

    def stops_at(self, answer: str) -> bool:
        """Whether an answer is `until`, whatever its case and a full stop behind it."""
        return self.until is not None and comparable(answer) == comparable(self.until)


def comparable(answer: str) -> str:
    """An answer without what `--until` ignores: case, outer spaces, and a full stop at the end."""
    return answer.strip().removesuffix(".").casefold()


def check_count(length_s: float, every_s: float) -> None:
    """Check that a video has no more parts of a length than are listed."""
    if length_s > MOST_PARTS * every_s:
        raise UsageError(
            f"parts of {every_s:g} s are more than {MOST_PARTS:,} in {length_s:g} s of video: "
            f"choose longer ones, of {length_s / MOST_PARTS:.2g} s or more"
        )


def converse_by_part(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    listener: Listener,
    decoders: Sequence[Decoder] = (),
) -> bool:
    """Ask all questions about each part: it is decoded, asked about, and freed."""
    sampling = asks[0].request.sampling
    info: VideoInfo | None = None
    for start_s, end_s in parts.of(sampling):
        if info is not None and _is_over(start_s, sampling.end_s, info):
            break
        about = [part_of(ask, start_s, end_s) for ask in asks]
        seen, found = ask_part(asker, about, parts, listener, decoders)
        if found:
            return True
        info, decoders = seen.infos[0], ()
    return False


def groups_by_part(
    groups: Sequence[Sequence[Ask]], parts: Parts, on_video: Callable[[int, int], None]
) -> list[Sequence[Ask]]:
    """The questions of a run about each part of their videos.

    A video that can't be opened keeps its questions, whose failure says why.
    """
    found: list[Sequence[Ask]] = []
    threads = ThreadPoolExecutor(usual_decoders())
    try:
        infos = threads.map(_info, [group[0] for group in groups])
        for number, (group, info) in enumerate(zip(groups, infos, strict=True), 1):
            on_video(number, len(groups))
            if info is None:
                found.append(group)
                continue
            sampling = group[0].request.sampling
            begin_s, limit_s = sampling.start_s or 0.0, sampling.end_s
            check_count(min(limit_s or math.inf, info.duration_s or 0.0) - begin_s, parts.every_s)
            for start_s, end_s in parts.of(sampling):
                if start_s > begin_s and _is_over(start_s, limit_s, info):
                    break
                found.append([part_of(ask, start_s, end_s) for ask in group])
    finally:
        threads.shutdown(cancel_futures=True)
    return found


def _info(ask: Ask) -> VideoInfo | None:
    from dycoke_cli.video.decoder import info_of

    [video] = ask.videos
    return info_of(video.source, ask.request.sampling, ask.request.limits, video.shown_as)


def part_of(ask: Ask, start_s: float, end_s: float) -> Ask:
    """A question about a part of its video, with which its answer is labelled."""
    sampling = replace(ask.request.sampling, start_s=start_s, end_s=end_s)
    request = replace(ask.request, sampling=sampling)
    return replace(ask, request=request, part_s=(start_s, end_s), stamped=True)


def ask_part(
    asker: Asker,
    asks: Sequence[Ask],
    parts: Parts,
    listener: Listener,
    decoders: Sequence[Decoder] = (),
) -> tuple[Seen, bool]:
    """Ask about one part; its frames are freed on return.

    Returns:
        What was read of the video, and whether an answer is the one to stop at.
    """
    sampling, part_s = asks[0].request.sampling, asks[0].part_s
    if part_s is not None and sampling.start_s is not None and sampling.end_s is not None:
        listener.look_at(sampling.start_s, sampling.end_s)
        listener.begin_part(sampling.start_s, sampling.end_s)
    seen: list[Seen] = []

    def on_seen(event: Seen) -> None:
        # The last part of a video may be shorter, and a live source knows its parts alone.
        if not seen and event.part_s is not None and event.part_s != part_s:
            listener.begin_part(*event.part_s)
        seen.append(event)

    try:
        answers = converse(asker, asks, listener, on_seen=on_seen, decoders=decoders)
    finally:
        asker.free()
    return seen[0], any(parts.stops_at(answer.answer) for answer in answers)


def _is_over(start_s: float, limit_s: float | None, info: VideoInfo) -> bool:
    """Whether no frame is left for a part that begins at `start_s`."""
    if limit_s is not None and start_s >= limit_s:
        return True
    if info.duration_s is None:
        return False
    # The last frame begins one interval before the end.
    return start_s > info.duration_s - (1 / info.fps if info.fps else 0.0) + 1e-6


NOT_FOUND = "not found"
_WINDOWS = 8
_SHORTEST_S, _LONGEST_S = 2.0, 60.0


def converse_when(
    asker: Asker,
    asks: Sequence[Ask],
    window_s: float | None,
    listener: Listener,
    decoders: Sequence[Decoder] = (),
) -> None:
    """Find the time ranges in which the answer to each question is yes.

    Parts of the video are decoded, asked about and freed one after the other, each as
    `dycoke ask --yes-no --start … --end …` does.

    Args:
        window_s: length of the windows in seconds; None for `usual_window_s`.
    """
    for ask in asks:
        listener.begin(ask.question)
        answer = _WhenSearch(asker, ask, listener, decoders).answer(window_s)
        decoders = ()
        listener.finish(answer)


def answers_of(
    asker: Asker, groups: Iterable[Sequence[Ask]], listener: Listener
) -> Iterator[tuple[Ask, Answered | Failed]]:
    """Answer the questions of a run, or search their times, one after the other (`Ask.when_s`).

    Args and errors: those of `Asker.answers`; `listener` is told once the model is loaded, and
    says whether only the answers under way are still wanted.
    """
    groups = iter(groups)
    first = next(groups, None)
    if first is None:
        return
    groups = chain([first], groups)

    def on_load() -> None:
        listener.ready = True

    if first[0].when_s is None or asker.searches:
        yield from asker.answers(groups, lambda: listener.stopping, on_load)
        return
    asker.begin_run()
    on_load()
    for ask in chain.from_iterable(groups):
        if listener.stopping:
            return
        event: Answered | Failed
        try:
            answer = _WhenSearch(asker, ask, listener).answer(ask.when_s or None)
            event = Answered(answer, answer.seconds.total)
        except Exception as error:
            event = Failed(error)
        yield ask, event


def find_when(
    ask: Callable[[str, Part | None], Answer],
    length_s: Callable[[], float],
    sampling: Sampling,
    question: str,
    window_s: float | None,
) -> Answer:
    """Find the time ranges in which the answer to a question is yes.

    Args:
        ask: gives the answer, with yes and no as its options, about a part of the video; None is
            the whole, which comes first.
        length_s: gives the length of the video in seconds, once the whole was asked about.
        window_s: length of the windows in seconds; None for `usual_window_s`.

    Returns:
        That about the whole, with the ranges, and the seconds and warnings of all.
    """

    asked = as_question(question)
    answers = [ask(asked, None)]
    whole = replace(answers[0], question=question)
    begin_s, end_s = sampling.part_s(length_s()) or (0.0, length_s())
    window_s = window_s or usual_window_s(end_s - begin_s)
    check_count(end_s - begin_s, window_s)
    search = TimeSearch(begin_s, end_s, window_s)

    def yes(start: float, end: float) -> float:
        if (start, end) == (search.begin_s, search.end_s):
            return probability_of_yes(whole) or 0.0
        answers.append(ask(asked, (start, end)))
        return probability_of_yes(answers[-1]) or 0.0

    ranges = search.ranges(yes)
    shown = ", ".join(format_part(one.start, one.end) for one in ranges)
    return replace(
        whole,
        answer=shown or NOT_FOUND,
        when=ranges,
        seconds=_in_all(answers),
        warnings=_warnings(answers),
    )


def as_question(text: str) -> str:
    """A statement as a question that yes or no answers; a question as it is."""
    text = text.strip()
    if text.endswith("?"):
        return text
    return f'Does this happen in the video: "{text.removesuffix(".")}"? Answer yes or no.'


def usual_window_s(length_s: float) -> float:
    """Length of the windows that this length of a video is searched by, in seconds."""
    return min(max(length_s / _WINDOWS, _SHORTEST_S), _LONGEST_S)


class _WhenSearch(Listener):
    """Search for the times of a question; at most one part of the video is in memory.

    It hears of each part, and passes on the progress: no text and no answer. Args: see
    `converse_when`.
    """

    def __init__(
        self, asker: Asker, ask: Ask, listener: Listener, decoders: Sequence[Decoder] = ()
    ) -> None:
        super().__init__()
        self._asker, self._asked, self._decoders = asker, ask, decoders
        self._listener = listener
        self._length_s = 0.0

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        self._listener.stage(stage, done, total)

    def warning(self, sentence: str) -> None:
        self._listener.warning(sentence)

    def note(self, sentence: str) -> None:
        self._listener.note(sentence)

    def answer(self, window_s: float | None) -> Answer:
        """See `find_when`."""
        asked = self._asked
        sampling = asked.request.sampling
        return find_when(self._ask, lambda: self._length_s, sampling, asked.question, window_s)

    def _ask(self, question: str, part: Part | None) -> Answer:
        ask = replace(self._asked, question=question)
        if part is not None:
            self._listener.look_at(*part)
            sampling = replace(ask.request.sampling, start_s=part[0], end_s=part[1])
            ask = replace(ask, request=replace(ask.request, sampling=sampling))

        def on_seen(seen: Seen) -> None:
            if part is None:
                self._note(seen)

        [answer] = converse(self._asker, [ask], self, on_seen=on_seen, decoders=self._decoders)
        self._asker.free()
        self._decoders = ()
        return answer

    def _note(self, seen: Seen) -> None:
        """Note the length of the whole video."""
        name = self._asked.videos[0].name
        if len(seen.times_s[0]) == 1 and self._asked.request.sampling.frames > 1:
            if seen.part_s is not None:
                raise UsageError(
                    f"{name} has one frame from --start to --end: --when needs a longer part"
                )
            raise UsageError(f"{name} is a still picture: --when needs a video; leave it out")
        duration_s = seen.infos[0].duration_s
        assert duration_s is not None, "it is measured"
        self._length_s = duration_s


def _warnings(answers: Sequence[Answer]) -> tuple[str, ...]:
    """Those of all parts, of which some may be damaged; one of those that differ by numbers."""
    found: dict[str, str] = {}
    for warning in (warning for answer in answers for warning in answer.warnings):
        if warning != ONE_FRAME:  # that is how long a window is, and no motion is asked for
            found.setdefault(re.sub(r"\d+", "", warning), warning)
    return tuple(found.values())


def _in_all(answers: Sequence[Answer]) -> Seconds:
    """Seconds of several answers together; the model was loaded for the first."""
    each = [answer.seconds for answer in answers]
    names = [one.name for one in fields(Seconds) if one.name not in ("load", "request")]
    sums = {name: sum(getattr(one, name) for one in each) for name in names}
    return replace(each[0], **sums)


def probability_of_yes(answer: Answer) -> float | None:
    """Probability of yes in a typed answer; None where the model would rather say neither."""
    assert not isinstance(answer.probabilities, Absent)
    assert not isinstance(answer.scoring, Absent)
    return answer.probabilities["yes"] if answer.scoring.mass >= LEAST_MASS else None

"""When something is visible in a video (`--when`): yes-or-no questions about parts of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import chain
from typing import TYPE_CHECKING

from dycoke_cli.answer.answer import Answer, Seconds
from dycoke_cli.ask import Answered, Ask, Failed, Seen
from dycoke_cli.engine.context import ONE_FRAME
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.asker import Asker
from dycoke_cli.loop.checking import probability_of_yes
from dycoke_cli.runs.converse import converse
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.part_by_part import check_count
from dycoke_cli.runs.time_search import Part, TimeSearch
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.sampling import Sampling

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
        parts = _Parts(asker, ask, listener, decoders)
        decoders = ()
        answer = find_when(parts.ask, parts.length_s, ask.request.sampling, ask.question, window_s)
        if answer.refused and listener.on_text is not None:
            listener.on_text(answer.answer)
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
        parts = _Parts(asker, ask, listener, ())
        sampling, window_s = ask.request.sampling, ask.when_s or None
        event: Answered | Failed
        try:
            answer = find_when(parts.ask, parts.length_s, sampling, ask.question, window_s)
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
        That about the whole, with the ranges, and the seconds and warnings of all; a refused one
        has no ranges.
    """
    asked = as_question(question)
    answers = [ask(asked, None)]
    whole = replace(answers[0], question=question)
    if whole.refused:
        return whole

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


class _Parts:
    """Asks about parts of a video; at most one of them is in memory.

    Args: see `converse_when`.
    """

    def __init__(
        self, asker: Asker, ask: Ask, listener: Listener, decoders: Sequence[Decoder]
    ) -> None:
        self._asker, self._asked, self._decoders = asker, ask, decoders
        self._silent = _Silent(listener)
        self._length_s = 0.0

    def length_s(self) -> float:
        """Length of the video in seconds, once the whole was asked about."""
        return self._length_s

    def ask(self, question: str, part: Part | None) -> Answer:
        """Ask about a part of the video; None for the whole."""
        ask = replace(self._asked, question=question)
        if part is not None:
            self._silent.listener.look_at(*part)
            sampling = replace(ask.request.sampling, start_s=part[0], end_s=part[1])
            ask = replace(ask, request=replace(ask.request, sampling=sampling))

        def on_seen(seen: Seen) -> None:
            if part is None:
                self._note(seen)

        [answer] = converse(
            self._asker, [ask], self._silent, on_seen=on_seen, decoders=self._decoders
        )
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


class _Silent(Listener):
    """Passes the progress of a question on, and no text and no answer."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.listener = listener

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        self.listener.stage(stage, done, total)

    def warning(self, sentence: str) -> None:
        self.listener.warning(sentence)

    def note(self, sentence: str) -> None:
        self.listener.note(sentence)


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

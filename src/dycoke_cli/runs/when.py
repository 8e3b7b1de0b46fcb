"""When something is visible in a video (`--when`): yes-or-no questions about parts of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, cast

from dycoke_cli.answer.answer import Answer, Seconds
from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.answer.option_scores import LEAST_MASS
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.conversation import Conversation, open_session
from dycoke_cli.runs.converse import ask_once
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.time_search import Part, TimeSearch
from dycoke_cli.video.sampling import format_part

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video import Clip
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.sampling import Sampling

NOT_FOUND = "not found"
_WINDOWS = 8
_SHORTEST_S, _LONGEST_S = 2.0, 60.0


def converse_when(
    conversation: Conversation,
    window_s: float | None,
    listener: Listener,
    decoders: Sequence[Decoder] = (),
) -> None:
    """Find the time ranges in which the answer to each question is yes.

    Parts of the video are decoded, asked about and freed one after the other, each as
    `dycoke ask --yes-no --start … --end …` does.

    Args:
        conversation: one video, and questions or statements; its options are yes and no.
        window_s: length of the windows in seconds; None for `usual_window_s`.
        listener: receives progress and answers.
        decoders: see `open_session`; for the whole video.

    Raises:
        UsageError: the video is a still picture, or the part of it has a single frame.
    """
    parts, request = _Parts(conversation, listener, decoders), conversation.request
    with request.advising():
        for question in conversation.questions:
            listener.begin(question)
            answer = find_when(
                parts.ask, lambda: parts.length_s, request.sampling, question, window_s
            )
            answer = replace(answer, video=conversation.names[0])
            if answer.refused and listener.on_text is not None:
                listener.on_text(answer.answer)
            listener.finish(answer)


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
        sampling: of the whole.
        question: or statement; see `as_question`.
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
    search = TimeSearch(begin_s, end_s, window_s or usual_window_s(end_s - begin_s))

    def yes(start: float, end: float) -> float:
        if (start, end) == (search.begin_s, search.end_s):
            return probability_of_yes(whole)
        answers.append(ask(asked, (start, end)))
        return probability_of_yes(answers[-1])

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


def probability_of_yes(answer: Answer) -> float:
    """Probability of yes in a typed answer; 0 where the model would rather say neither."""
    assert not isinstance(answer.probabilities, Absent)
    assert not isinstance(answer.scoring, Absent)
    return answer.probabilities["yes"] if answer.scoring.mass >= LEAST_MASS else 0.0


def usual_window_s(length_s: float) -> float:
    """Length of the windows that this length of a video is searched by, in seconds."""
    return min(max(length_s / _WINDOWS, _SHORTEST_S), _LONGEST_S)


class _Parts:
    """Asks about parts of a video; at most one of them is in memory.

    Attributes:
        length_s: of the video in seconds, once the whole was asked about.

    Args: see `converse_when`.
    """

    def __init__(
        self, conversation: Conversation, listener: Listener, decoders: Sequence[Decoder]
    ) -> None:
        self._conversation, self._listener, self._decoders = conversation, listener, decoders
        self._loaded: LoadedModel | None = None
        self.length_s = 0.0

    def ask(self, question: str, part: Part | None) -> Answer:
        """Ask about a part of the video; None for the whole."""
        request = self._conversation.request
        if part is not None:
            self._listener.look_at(*part)
            sampling = replace(request.sampling, start_s=part[0], end_s=part[1])
            request = replace(request, sampling=sampling)
        session, method = open_session(
            replace(self._conversation, request=request),
            self._listener,
            self._loaded,
            self._decoders,
            reuse=False,
        )
        self._loaded, self._decoders = session.loaded, ()
        if part is None:
            clip = cast("Clip", session.clip)
            if len(clip.timestamps_s) == 1 and request.sampling.frames > 1:
                name = self._conversation.names[0]
                if clip.part_s is not None:
                    raise UsageError(
                        f"{name} has one frame from --start to --end: --when needs a longer part"
                    )
                raise UsageError(f"{name} is a still picture: --when needs a video; leave it out")
            assert clip.info.duration_s is not None, "it is measured"
            self.length_s = clip.info.duration_s
        answer = ask_once(session, question, request, method, None)
        session.finish()
        return answer


def _warnings(answers: Sequence[Answer]) -> tuple[str, ...]:
    """Those of all parts, of which some may be damaged; one of those that differ by numbers."""
    found: dict[str, str] = {}
    for warning in (warning for answer in answers for warning in answer.warnings):
        found.setdefault(re.sub(r"\d+", "", warning), warning)
    return tuple(found.values())


def _in_all(answers: Sequence[Answer]) -> Seconds:
    """Seconds of several answers together; the model was loaded for the first."""
    each = [answer.seconds for answer in answers]
    names = [one.name for one in fields(Seconds) if one.name not in ("load", "request")]
    sums = {name: sum(getattr(one, name) for one in each) for name in names}
    return replace(each[0], **sums)

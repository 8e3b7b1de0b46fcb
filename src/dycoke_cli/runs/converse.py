"""Answers to the questions of a conversation, each streamed as it is generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE, BoundMethod
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.conversation import Conversation, open_session
from dycoke_cli.runs.faster_flags import faster_flags
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.refusing import refusals, refuse

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video import Clip
    from dycoke_cli.video.decoder import Decoder

# Frames and new tokens of the warm-up run: one window of TTM, so that its kernels run as well.
_WARM_UP = 4


def converse(
    conversation: Conversation,
    listener: Listener,
    loaded: LoadedModel | None = None,
    decoders: Sequence[Decoder] = (),
) -> None:
    """Answer all questions; each answer is streamed to `listener` and sent to it when complete.

    Args:
        conversation: videos and questions.
        listener: receives progress and answers.
        loaded: the model, if it is loaded already.
        decoders: see `open_session`.
    """
    with conversation.request.advising():
        if loaded is None and _refused(conversation, listener, decoders):
            return
        session, method = open_session(
            conversation, listener, loaded, decoders, reuse=len(conversation.questions) > 1
        )
        answer_each(session, conversation, method, listener)


def _refused(conversation: Conversation, listener: Listener, decoders: Sequence[Decoder]) -> bool:
    """Answer without the model if it understands none of the questions; whether that was so."""
    if len(conversation.sources) > 1:
        return False
    from dycoke_cli.video.decoder import Decoder

    request, (video,), (name,) = conversation.request, conversation.sources, conversation.names
    decoder = decoders[0] if decoders else Decoder(request.limits)
    answers = refusals(request, conversation.questions, video, listener, decoder)
    if answers is None:
        return False
    refuse(answers, name, conversation.compare, listener)
    return True


def answer_each(
    session: VideoSession,
    conversation: Conversation,
    method: BoundMethod,
    listener: Listener,
    *,
    first: bool = True,
) -> list[Answer]:
    """Answer all questions of a conversation, in order.

    Args:
        session: the videos.
        conversation: questions and options.
        method: the conversation's, bound to the model.
        listener: receives progress and answers.
        first: whether these are the first answers of this process. Only then are the memory
            checked, a comparison warmed up and faster flags advised.
    """
    request, questions = conversation.request, conversation.questions
    if first:
        # Before anything runs: a system without free memory kills a process without an error. The
        # longest question needs the most.
        if warning := session.memory_warning(max(questions, key=len), method):
            listener.warning(request.advise(warning))
        if conversation.compare:
            # Else the first of the two timings would include what a process does only once.
            listener.stage("warm_up")
            _warm_up(session, request, method)
    history: list[tuple[str, str]] = []
    answers: list[Answer] = []
    advice = None
    for question in questions:
        answer = answer_one(session, question, conversation, method, listener, history)
        answers.append(answer)
        if first and advice is None and (advice := faster_flags(answer, request, session.loaded)):
            listener.advise(advice)
        if conversation.follow_up:
            history.append((question, answer.answer))
    session.finish()
    return answers


def answer_one(
    session: VideoSession,
    question: str,
    conversation: Conversation,
    method: BoundMethod,
    listener: Listener,
    history: Sequence[tuple[str, str]],
) -> Answer:
    """Answer a question; with `compare`, answer it again without compression.

    Args:
        session: the videos.
        question: plain text.
        conversation: how it is asked.
        method: the conversation's, bound to the model.
        listener: receives progress and the answer.
        history: earlier questions with their answers, which the model reads first.
    """
    request = conversation.request
    listener.begin(question)
    answer = ask_once(session, question, request, method, listener.on_text, history)
    answer = _named(answer, conversation)
    if conversation.compare:
        listener.begin_comparison()
        # With the same sampling seed, so that only the compression differs.
        generation = replace(request.generation, seed=answer.seed)
        plain = replace(request, generation=generation).with_method(Method())
        # And with the same history, that of the answers which were shown: with its own earlier
        # answers, the baseline would answer another question.
        other = ask_once(session, question, plain, BASELINE, None, history)
        answer = replace(answer, compared_to=_named(other, conversation))
    listener.finish(answer)
    return answer


def ask_once(
    session: VideoSession,
    question: str,
    request: Request,
    method: BoundMethod,
    on_text: Callable[[str], None] | None,
    history: Sequence[tuple[str, str]] = (),
) -> Answer:
    """Answer a question by a request's options; the answer has the request's cautions.

    Args:
        session: the videos.
        question: plain text.
        request: generation options, and the guard if there is one.
        method: bound to the model.
        on_text: called with each stretch of the answer as it is generated.
        history: earlier questions with their answers, which the model reads first.
    """
    if request.guard is not None:
        from dycoke_cli.engine.ask_together import Question
        from dycoke_cli.guard.asking import ask_guarded

        session.expect(bind(step, session.loaded.traits) for step in request.guard.steps)
        asked = [Question(session, question, tuple(history))]
        return request.noted(ask_guarded(asked, request.guard, request.generation, on_text)[0])
    options = vars(request.generation)
    answer = session.ask(question, method, on_text=on_text, history=tuple(history), **options)
    return request.noted(answer)


def _named(answer: Answer, conversation: Conversation) -> Answer:
    """The answer with the names of its videos, as they were given, and the part of the video."""
    videos = conversation.names
    if conversation.part_s is not None:
        start, end = conversation.part_s
        answer = replace(answer, start=start, end=end)
    if conversation.dropped is not None:
        answer = replace(answer, dropped=conversation.dropped)
    if answer.videos is not ABSENT:
        each = zip(answer.videos, videos, strict=True)
        answer = replace(answer, videos=tuple(replace(one, video=name) for one, name in each))
    return replace(answer, video=videos[0])


def _warm_up(session: VideoSession, request: Request, method: BoundMethod) -> None:
    """Answer about a few frames, with and without compression, before two timings are compared.

    A process loads kernels, selects algorithms and reserves memory only once. The video of
    `session` isn't encoded by this, so that its own encoding is measured.
    """
    clip = cast("Clip", session.clip)
    # Without their resize: of so few frames, a processor may make larger ones.
    short = replace(
        clip,
        frames=clip.frames[:_WARM_UP],
        timestamps_s=clip.timestamps_s[:_WARM_UP],
        resize=None,
    )
    unmeasured = type(session)(session.loaded, short, reuse=False)
    generation = GenerationOptions(max_new_tokens=_WARM_UP)
    short_one = replace(request, generation=generation)
    ask_once(unmeasured, "?", short_one, method, None)
    ask_once(unmeasured, "?", short_one.with_method(Method()), BASELINE, None)

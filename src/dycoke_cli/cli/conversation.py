"""Questions about one video, answered one after the other by one session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.cli.choice import AnswerChoice
from dycoke_cli.cli.libraries import quieten_libraries
from dycoke_cli.cli.method_flags import MethodChoice
from dycoke_cli.cli.presenter import Presenter
from dycoke_cli.cli.reading import beside
from dycoke_cli.cli.source import open_clip_of
from dycoke_cli.compression.base import Method
from dycoke_cli.models.catalog import published
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import find

if TYPE_CHECKING:
    from dycoke_cli.engine.session import Answer, VideoSession
    from dycoke_cli.video import Clip, Sampling


@dataclass(frozen=True)
class Conversation:
    """All that is chosen before anything is read or loaded."""

    video: str
    questions: list[str]
    sampling: Sampling
    model: str
    method: MethodChoice
    answer: AnswerChoice
    loading: LoadOptions = field(default_factory=LoadOptions)
    compare: bool = False
    cache: bool = False


def converse(conversation: Conversation, presenter: Presenter) -> None:
    """Answer all questions; each answer goes to `presenter` as it comes and when it is done."""
    session, method = _open_session(conversation, presenter)
    # Before anything runs: a system that has no memory left may kill us without a word.
    if warning := session.memory_warning(max(conversation.questions, key=len), method):
        presenter.warn(warning)
    for question in conversation.questions:
        presenter.begin(question)
        answer = _ask(session, question, method, conversation.answer, presenter.on_text)
        document = _document(conversation, answer)
        if conversation.compare:
            presenter.begin_comparison()
            # The same draws, so that all that differs is the compression.
            same = replace(conversation.answer, seed=document["seed"])
            other = _ask(session, question, Method(), same, None)
            document["compared_to"] = _document(conversation, other)
        presenter.finish(document)


def _open_session(conversation: Conversation, presenter: Presenter) -> tuple[VideoSession, Method]:
    # The cheap checks first: a wrong name costs no decoding, a broken file no loading.
    local = _is_here(conversation)
    started = time.perf_counter()
    with open_clip_of(conversation.video, conversation.sampling) as reader:

        def read() -> tuple[Clip, float]:
            clip = reader.read(lambda done, total: presenter.progress("video", done, total))
            seconds = time.perf_counter() - started
            # From here, for until now the line on the terminal was the video's.
            presenter.progress("load" if local else "fetch", 0, 0)
            return clip, seconds

        with beside(read, reader) as reading:
            quieten_libraries()
            from dycoke_cli.engine.session import VideoSession
            from dycoke_cli.engine.visual_cache import VisualCache
            from dycoke_cli.models.load import load

            if reading.done():
                reading.result()  # a video that is known by now to be broken costs no loading
            cache = VisualCache() if conversation.cache else None
            loaded = load(conversation.model, **asdict(conversation.loading))
            method = conversation.method.for_model(loaded)
            clip, seconds_video_decode = reading.result()
    session = VideoSession(
        loaded,
        clip,
        on_progress=presenter.progress,
        seconds_load=loaded.seconds_load,
        seconds_video_decode=seconds_video_decode,
        reuse=len(conversation.questions) > 1,
        cache=cache,
    )
    return session, method


def _is_here(conversation: Conversation) -> bool:
    """Whether nothing has to be fetched for the model; a wrong name ends it here."""
    if conversation.loading.random_weights:
        published(conversation.model)
        return True
    return find(conversation.model).local


def _ask(
    session: VideoSession,
    question: str,
    method: Method,
    choice: AnswerChoice,
    on_text: Callable[[str], None] | None,
) -> Answer:
    return session.ask(
        question,
        method,
        max_new_tokens=choice.max_new_tokens,
        temperature=choice.temperature,
        seed=choice.seed,
        on_text=on_text,
    )


def _document(conversation: Conversation, answer: Answer) -> dict[str, Any]:
    """The object of the contract: what the engine knows, and which video it was."""
    known = answer.to_dict()
    first = {key: known[key] for key in ("schema", "version")}
    return {**first, "video": conversation.video, **known}

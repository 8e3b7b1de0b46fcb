"""Questions about one video, answered one after the other by one session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from dycoke_cli.cli.flags import Chosen
from dycoke_cli.cli.libraries import quieten_libraries
from dycoke_cli.cli.presenter import Presenter
from dycoke_cli.cli.reading import beside
from dycoke_cli.cli.source import open_clip_of
from dycoke_cli.compression.base import Method
from dycoke_cli.models.catalog import published
from dycoke_cli.models.resolve import find
from dycoke_cli.result import Answer

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.request import Request
    from dycoke_cli.video import Clip


@dataclass(frozen=True)
class Conversation:
    """All that is chosen before anything is read or loaded."""

    video: str
    questions: list[str]
    chosen: Chosen
    compare: bool = False
    cache: bool = False


def converse(conversation: Conversation, presenter: Presenter) -> None:
    """Answer all questions; each answer goes to `presenter` as it comes and when it is done."""
    session, request = _open_session(conversation, presenter)
    # Before anything runs: a system that has no memory left may kill us without a word.
    if warning := session.memory_warning(max(conversation.questions, key=len), request.method):
        presenter.warn(warning)
    for question in conversation.questions:
        presenter.begin(question)
        answer = _ask(session, question, request, presenter.on_text)
        answer = replace(answer, video=conversation.video)
        if conversation.compare:
            presenter.begin_comparison()
            # The same draws, so that all that differs is the compression.
            generation = replace(request.generation, seed=answer.seed)
            plain = replace(request, method=Method(), generation=generation)
            other = _ask(session, question, plain, None)
            other = replace(other, video=conversation.video)
            answer = replace(answer, compared_to=other)
        presenter.finish(answer)


def _open_session(conversation: Conversation, presenter: Presenter) -> tuple[VideoSession, Request]:
    # The cheap checks first: a wrong name costs no decoding, a broken file no loading.
    local = _is_here(conversation)
    started = time.perf_counter()
    with open_clip_of(conversation.video, conversation.chosen.sampling) as reader:

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
            loaded = load(conversation.chosen.model_name, **asdict(conversation.chosen.loading))
            request = conversation.chosen.request(loaded)
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
    return session, request


def _is_here(conversation: Conversation) -> bool:
    """Whether nothing has to be fetched for the model; a wrong name ends it here."""
    if conversation.chosen.loading.random_weights:
        published(conversation.chosen.model_name)
        return True
    return find(conversation.chosen.model_name).local


def _ask(
    session: VideoSession,
    question: str,
    request: Request,
    on_text: Callable[[str], None] | None,
) -> Answer:
    generation = request.generation
    return session.ask(
        question,
        request.method,
        max_new_tokens=generation.max_new_tokens,
        temperature=generation.temperature,
        seed=generation.seed,
        on_text=on_text,
    )

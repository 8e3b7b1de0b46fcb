"""A conversation about one video with a model on a server: `dycoke ask --server`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from time import perf_counter

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.conversation import Conversation, background_read
from dycoke_cli.runs.jobs import JobQuestion
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.remote.sent_video import SentVideo
from dycoke_cli.runs.remote.served_model import ServedModel, Server, check_silent
from dycoke_cli.video import Clip
from dycoke_cli.video.decoder import Decoder


def converse_remotely(
    conversation: Conversation, server: Server, named: str | None, listener: Listener
) -> None:
    """Answer all questions; see `converse.converse`.

    Args:
        conversation: questions about one video.
        server: answers.
        named: name of the model there, if the user gave one.
        listener: receives progress and answers.

    Raises:
        UsageError: this server doesn't support the request.
        ModelError: the server can't be reached, or refuses the key or the model.
        DycokeError: it gives no answer.
    """
    request = conversation.request
    check_silent(request)
    with request.advising(), ExitStack() as stack:
        decoder = stack.enter_context(Decoder(request.limits))
        [video] = conversation.sources
        opened = stack.enter_context(decoder.open(video, request.sampling))
        started = perf_counter()

        def read() -> tuple[Clip, float]:
            return opened.read(partial(listener.stage, "video")), perf_counter() - started

        # The server is checked while the frames are decoded.
        with background_read(read, [decoder]) as reading:
            own = [request.method] if server.names_method else []
            model = server.connected(named, own + [Method()] * conversation.compare)
            clip, seconds = reading.result()
        if conversation.compare and not model.sends_method:
            raise UsageError(
                f"--compare asks by two methods, and the server at {server.url} knows none; leave "
                "it out"
            )
        _answer_all(conversation, model, model.send(clip, seconds), listener)


def _answer_all(
    conversation: Conversation, model: ServedModel, video: SentVideo, listener: Listener
) -> None:
    request = conversation.request
    method = request.method if model.server.names_method else None
    history: list[tuple[str, str]] = []
    for text in conversation.questions:
        question = JobQuestion(None, text, tuple(history))
        listener.begin(text)
        listener.stage("prefill")
        on_text = listener.on_text or _ignore  # always streamed, to measure the time to first token
        answer = model.ask(question, video, method, request.generation, on_text)
        answer = _named(answer, conversation)
        if conversation.compare:
            listener.begin_comparison()
            generation = replace(request.generation, seed=answer.seed)  # the same sampling
            plain = model.ask(question, video, Method(), generation, _ignore)
            answer = replace(answer, compared_to=_named(plain, conversation))
        listener.finish(answer)
        if conversation.follow_up:
            history.append((text, answer.answer))
        video = replace(video, seconds=0.0)  # only the first answer waited for the decoding


def _ignore(text: str) -> None:
    """Ignore streamed text that isn't shown."""


def _named(answer: Answer, conversation: Conversation) -> Answer:
    return replace(answer, video=conversation.videos[0])

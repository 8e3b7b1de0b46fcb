"""Questions about a video one after the other, as in a chat: none is asked ahead of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Answered, Ask, Done, Event, Footage, Seen, Text
from dycoke_cli.loop.asker import Asker, Pending, Work
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video.pictures import sources

if TYPE_CHECKING:
    from dycoke_cli.video.decoder import Decoder


def engine_of(request: Request, listener: Listener, *, videos: int = 1, **how: Any) -> Engine:
    """An engine of this process, whose model is loaded while the first video is read.

    Args:
        videos: that a question is about.
        how: of the engine.
    """
    unloaded = unloaded_model(request, listener.warning)
    unloaded.check(request, videos)
    engine = Engine(request, unloaded=unloaded, on_stage=listener.stage, **how)
    engine.prepare()
    return engine


def asks_of(
    videos: Sequence[str],
    questions: Sequence[str],
    request: Request,
    *,
    compare: bool = False,
) -> list[Ask]:
    """The questions of a command line about one video, or several together."""
    shown = tuple(footage(source, request) for source in sources(tuple(videos)))
    return [Ask(question, request, shown, compare=compare) for question in questions]


def footage(source: str | tuple[str, ...], request: Request) -> Footage:
    """A video of a command line, with the subtitles that the request wants."""
    name = source if isinstance(source, str) else source[0]
    return Footage(source, name, subtitles=request.subtitles_of(name))


def converse(
    asker: Asker,
    asks: Sequence[Ask],
    listener: Listener,
    *,
    follow_up: bool = False,
    on_seen: Callable[[Seen], None] = lambda seen: None,
    decoders: Sequence[Decoder] = (),
) -> list[Answer]:
    """Answer questions in their order; each is streamed to `listener`."""
    history: list[tuple[str, str]] = [*asks[0].history]
    answers: list[Answer] = []
    for ask in asks:
        ask = replace(ask, history=tuple(history))
        begin = cache(partial(listener.begin, ask.question))  # called once, by whoever is first

        def take(_: Pending, event: Event, begin: Callable[[], None] = begin) -> None:
            if isinstance(event, Seen):
                on_seen(event)
            if isinstance(event, (Seen, Text)):
                begin()
            listener.take(event)

        if asker.holds(ask):
            begin()
        streams = listener.on_text is not None
        [pending] = asker.submit(ask, on_event=take, streams=streams, decoders=decoders)
        answer = cast("Answered", pending.wait()).answer
        begin()
        listener.finish(answer)
        answers.append(answer)
        decoders = ()
        if follow_up:
            history.append((ask.question, answer.answer))
    return answers


def work_on(
    asker: Asker,
    ask: Ask,
    work: Work,
    listener: Listener,
    *,
    decoded: bool = False,
) -> Any:
    """What a function makes of the videos of a question."""
    [pending] = asker.submit(
        ask, on_event=lambda _, event: listener.take(event), work=work, decoded=decoded
    )
    return cast("Done", pending.wait()).value

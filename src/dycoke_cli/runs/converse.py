"""Questions about a video one after the other, as in a chat: none is asked ahead of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Answered, Ask, Done, Event, Failed, Footage, Seen, Text
from dycoke_cli.compression.method import Method
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.asker import Asker, Pending, Work
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video.pictures import sources
from dycoke_cli.video.subtitles import find_source

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video.decoder import Decoder


def engine_of(
    request: Request,
    listener: Listener,
    *,
    videos: int = 1,
    keep: int = 0,
    cache: bool = False,
    loaded: LoadedModel | None = None,
) -> Engine:
    """An engine of this process, whose model is loaded while the first video is read."""
    unloaded = unloaded_model(request, listener.warning)
    unloaded.check(request, videos)
    engine = Engine(
        request,
        loaded=loaded,
        unloaded=unloaded,
        keep=keep,
        cache=cache,
        on_stage=listener.stage,
    )
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
    wanted = request.subtitles
    return Footage(source, name, subtitles=None if wanted is None else find_source(name, wanted))


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
        answers.append(_answered(asker, ask, listener, on_seen, decoders))
        decoders = ()
        if follow_up:
            history.append((ask.question, answers[-1].answer))
    return answers


def _answered(
    asker: Asker,
    ask: Ask,
    listener: Listener,
    on_seen: Callable[[Seen], None],
    decoders: Sequence[Decoder],
) -> Answer:
    begun = False

    def begin() -> None:
        nonlocal begun
        if not begun:
            begun = True
            listener.begin(ask.question)

    def take(event: Event) -> None:
        if isinstance(event, Seen):
            on_seen(event)
        if isinstance(event, (Seen, Text)):
            begin()
        listener.take(event)

    if asker.holds(ask):
        begin()
    streams = listener.on_text is not None
    event = _last(asker, ask, take, streams=streams, decoders=decoders)
    begin()
    listener.finish(event.answer)
    return cast("Answer", event.answer)


def work_on(
    asker: Asker,
    ask: Ask,
    work: Work,
    listener: Listener,
    *,
    decoded: bool = False,
) -> Any:
    """What a function makes of the videos of a question."""
    return _last(asker, ask, listener.take, work=work, decoded=decoded).value


def _last(asker: Asker, ask: Ask, take: Callable[[Event], None], **how: Any) -> Any:
    """The last event of a question; `take` receives the others, in the thread that sends them."""
    ended: list[Answered | Done | Failed] = []

    def receive(_: Pending, event: Event) -> None:
        if isinstance(event, (Answered, Done, Failed)):
            ended.append(event)
        else:
            take(event)

    [pending] = asker.submit(ask, on_event=receive, **how)
    pending.wait()
    [event] = ended
    if isinstance(event, Failed):
        raise event.error
    return event


class Chat:
    """Questions that follow up on each other.

    Attributes:
        videos: paths of the current ones.
        request: how they are asked.
        answers: of the questions, in order; questions whose answer was stopped have none.
    """

    def __init__(
        self, engine: Engine, videos: Sequence[str], request: Request, listener: Listener
    ) -> None:
        self._engine, self.request = engine, request
        self.show(videos, listener)

    def ask(self, question: str, listener: Listener) -> Answer:
        """Answer a question, which sees the earlier ones and their answers."""
        history = tuple((answer.question, answer.answer) for answer in self.answers)
        asks = [replace(ask, history=history) for ask in self._asks(question)]
        [answer] = converse(self._engine, asks, listener)
        self.answers.append(answer)
        return answer

    def compare(self, question: str, listener: Listener) -> None:
        """Ask by itself, with and without compression; it isn't part of the conversation."""
        if self.request.method.name == "none":
            raise UsageError("the baseline is what others are compared with: choose a /method")
        converse(self._engine, self._asks(question, compare=True), listener)

    def use(self, method: Method) -> None:
        """Ask by another method from now on."""
        self._engine.settled(method)  # raises if the model doesn't support it
        self.request = self.request.with_method(method)

    def show(self, videos: Sequence[str], listener: Listener) -> None:
        """Begin a new conversation about other videos; the old one stays if they can't be read."""
        [ask] = asks_of(videos, [""], self.request)
        work_on(self._engine, ask, lambda session, send: None, listener)
        self.videos = tuple(videos)
        self.forget()

    def forget(self) -> None:
        """Begin a new conversation about the same videos, which stay encoded."""
        self.answers: list[Answer] = []

    def _asks(self, question: str, *, compare: bool = False) -> list[Ask]:
        return asks_of(self.videos, [question], self.request, compare=compare)

"""One request on its way: its videos are opened, and the engine answers, whole or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import Request

from dycoke_cli import Answer, Answered, Ask, Event, Failed, Footage, Sampling, Text
from dycoke_cli.loop.asker import Client, Pending
from dycoke_cli.models.prompts.chat import QuestionWithVariables
from dycoke_cli.server.chat import ChatReply, ChatRequest, Reader, Reply, parse
from dycoke_cli.server.decisions import DecisionsReply
from dycoke_cli.server.limits import Allowance, Shares, sender_of
from dycoke_cli.server.media import opened, opened_pictures
from dycoke_cli.server.messages import FRAMES_PER_SECOND, JpegTimes, VideoPart
from dycoke_cli.server.refused import Refused, gone, refused
from dycoke_cli.server.replies import STILL_HERE
from dycoke_cli.server.request_body import Spooled
from dycoke_cli.server.request_keys import THINKING
from dycoke_cli.server.responses import ResponsesReply
from dycoke_cli.server.service import Service

# More than texts of any language have, about twice as many as English.
_BYTES_PER_TOKEN = 8
_NAMED = 20  # ignored keys in a warning


def check_text(reply: Reply, context: int) -> None:
    """Refuse a request whose text can't fit into the context, by its length.

    The text isn't divided into tokens for that: megabytes take the tokenizer seconds, while nobody
    else is answered.
    """
    turns = [text for turn in reply.request.history for text in turn]
    size = sum(len(text.encode()) for text in (reply.longest, *turns))
    if size > context * _BYTES_PER_TOKEN:
        raise Refused(
            f"the messages have {size} bytes of text; with the model's context of {context} tokens "
            f"they may have {context * _BYTES_PER_TOKEN}",
            "messages",
            code="context_length_exceeded",
        )


def prepare(
    request: ChatRequest,
    service: Service,
    received: Mapping[str, Spooled],
    stack: ExitStack,
    allowance: Allowance,
    *,
    owner: Hashable = None,
) -> Ask:
    """Open a request's videos; those of its body are `received`."""
    media, asked = replace(service.media, received=received), request.request
    videos = []
    for part in request.videos:
        video = stack.enter_context(
            opened_pictures(part.pictures, media, allowance)
            if part.pictures
            else opened(part.url, media, allowance)
        )
        videos.append(_shown(part, video, request, owner, allowance.pixels))
    asked = replace(asked, cautions=(*asked.cautions, *_cautions(request)))
    return Ask(request.question, asked, tuple(videos), request.history)


def _cautions(request: ChatRequest) -> list[str]:
    """A warning about keys that have no effect."""
    if not request.ignored:
        return []
    named = ", ".join(request.ignored[:_NAMED])
    others = len(request.ignored) - _NAMED
    more = f" and {others:,} more" if others > 0 else ""
    return [f"these keys of the request have no effect: {named}{more}"]


def _shown(
    part: VideoPart, video: Footage, request: ChatRequest, owner: Hashable, pixels: int
) -> Footage:
    """A video as the request shows it."""
    times = request.times
    if part.times_s and times == JpegTimes():
        times = JpegTimes.of(part.times_s)
    video = replace(video, identity=(owner, video.digest, times), pixels=pixels)
    if (given := video.count) is None:
        return video
    # All of them, or evenly as many as may be.
    sampling = request.request.sampling
    most = sampling.max_frames if sampling.fps is not None else sampling.frames
    count = min(given, most or given)
    chosen = Sampling(frames=count, picture_fps=FRAMES_PER_SECOND)
    return replace(video, sampling=chosen, edit=partial(times.applied, count=given), count=count)


AnyReply = ChatReply | ResponsesReply | DecisionsReply

_POLL_S = 1.0
_LOOK_S = 0.2  # at whether a client has left whose videos are read


def read(body: bytes, reader: Reader, service: Service) -> AnyReply:
    """The reply to the request in a body."""
    request = for_model(service, parse(body, service.defaults, service.most_frames, reader))
    reply: AnyReply = request.reply(service.defaults.model_name, request)
    if service.context is not None:
        check_text(reply, service.context)
    return reply


class Answering:
    """A request whose answer the engine generates, or all of its decisions."""

    def __init__(self, service: Service, http: Request, reply: AnyReply) -> None:
        self._service, self.request, self._reply, self._http = service, reply.request, reply, http
        self._owner = http.state.owner
        self._sender = sender_of(http)
        self._events: asyncio.Queue[str | list[Answer] | BaseException] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._pendings: list[Pending] = []
        self._answers: dict[int, Answer] = {}  # by the number of the question
        self._count = 1  # of the questions
        self._files = ExitStack()
        self._allowance = service.allowance(reply.request)
        self._reason: Exception | None = None  # why it was ended
        self._ended = False

    async def begin(self, readers: Shares, videos: Mapping[str, Spooled]) -> None:
        """Submit the question, and wait until its videos are read."""
        read = partial(self._read, videos)
        reading = readers.run(self._sender, read) if self.request.videos else run_sync(read)
        try:
            await self._watched(asyncio.create_task(reading))
        except Exception:
            await run_sync(self.leave)  # to remove 20,000 pictures takes seconds
            raise

    def _read(self, videos: Mapping[str, Spooled]) -> None:
        engine, allowance = self._service.engine, self._allowance
        given = (self.request, self._service, videos, self._files, allowance)
        with allowance:
            ask = prepare(*given, owner=self._owner)
            asks = self._reply.asks(ask)
            self._count = len(asks)
            self._pendings = engine.submit(
                *asks,
                client=Client(owner=self._sender),
                on_event=self._receive,
                streams=self.request.stream,
            )
            pending = self._pendings[0]  # all are about the same videos
            while not engine.wait_until_read(pending, min(_LOOK_S, allowance.left_s)):
                allowance.check()
        if pending.is_read:
            self._files.close()

    def end(self, reason: Exception) -> None:
        """End it, at whatever it is; the client gets the reason."""
        self._reason = reason
        self._allowance.end(reason)
        for pending in self._pendings:
            pending.cancel()
        self._events.put_nowait(reason)

    async def whole(self) -> dict[str, Any]:
        """The object of the reply; the client may leave meanwhile."""
        while not isinstance(found := await self._next(), list):
            if isinstance(found, BaseException):
                raise found
            if await self._http.is_disconnected():
                raise gone()
        return self._reply.whole(*found)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of the reply; one that fails ends with the error."""
        reply = self._reply
        assert not isinstance(reply, DecisionsReply), "decisions aren't streamed"
        yield reply.first()
        while not self._ended:
            found = await self._next()
            if found is None:
                yield STILL_HERE
            elif isinstance(found, str):
                yield reply.piece(found)
            elif isinstance(found, list):
                yield reply.end(*found)
            else:
                yield reply.failed(refused(found))

    async def _watched(self, reading: asyncio.Task[None]) -> None:
        """Wait for a thread that reads the videos; it is ended if the client leaves."""
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_LOOK_S)
                if self._reason is None and await self._http.is_disconnected():
                    self.end(gone())
                if self._reason is not None and not self._allowance.begun:
                    reading.cancel()  # it waits for a thread
                    raise self._reason
        except asyncio.CancelledError:
            self._allowance.end(gone())
            raise
        error = reading.exception()  # retrieved whatever is raised: else asyncio logs it
        error = self._reason or error
        if error is not None:
            raise error

    def leave(self) -> None:
        """End what is under way, if nobody has seen the end of it."""
        left = [pending for pending in self._pendings if not pending.has_ended]
        self._pendings = []
        if left and not self._ended:
            self._service.metrics.add("cancelled_total")
        for pending in left:
            pending.cancel()
        self._files.close()

    async def _next(self) -> str | list[Answer] | BaseException | None:
        """What comes next of the answer; None where nothing comes for a while."""
        try:
            found = await asyncio.wait_for(self._events.get(), _POLL_S)
        except TimeoutError:
            return None
        self._ended = not isinstance(found, str)
        return found

    def _receive(self, pending: Pending, event: Event) -> None:
        """Take an event of the engine, whose thread calls this."""
        found: str | list[Answer] | BaseException
        if isinstance(event, Text):
            found = event.text
        elif isinstance(event, Answered):
            self._answers[pending.number] = event.answer
            if len(self._answers) < self._count:
                return
            found = [answer for _, answer in sorted(self._answers.items())]
        elif isinstance(event, Failed):
            found = event.error
        else:
            return
        with suppress(RuntimeError):  # the loop is closed: the server ends
            self._loop.call_soon_threadsafe(self._events.put_nowait, found)


def for_model(service: Service, request: ChatRequest) -> ChatRequest:
    """A request as the model that is served takes it.

    Of the variables of the chat template, those that it doesn't have are ignored.
    """
    context, asked = service.context, request.request
    service.engine.check(asked, len(request.videos))
    if context is not None and asked.generation.max_tokens >= context:
        asked = replace(asked, generation=asked.generation.of_what_fits())
        request = replace(request, request=asked)
    ignored = [*request.ignored]
    variables: dict[str, bool] = {}
    for path, name, value in request.template:
        if name not in service.template_names:
            ignored.append(path)
            continue
        if name != THINKING or not isinstance(value, bool):
            raise Refused(
                f"{path} isn't supported: of the variables of the model's chat template, a request "
                f"may set {THINKING}, to true or false; leave it out",
                path,
            )
        if variables.setdefault(name, value) is not value:
            raise Refused(f"{path} and another key differ: send one of them", path)
    if variables:
        request = replace(request, question=QuestionWithVariables(request.question, variables))
    return replace(request, ignored=tuple(ignored))

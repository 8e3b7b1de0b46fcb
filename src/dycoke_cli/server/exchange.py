"""One request on its way: its videos are opened, and the engine answers, whole or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from anyio.to_thread import run_sync
from starlette.requests import Request

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Answered, Ask, Done, Event, Failed, Footage, Text
from dycoke_cli.engine.generation_options import LARGEST_SEED, WHAT_FITS
from dycoke_cli.loop.asker import Client, Pending, Work
from dycoke_cli.models.prompts.chat import QuestionWithVariables, tools_text
from dycoke_cli.server.body import Spooled
from dycoke_cli.server.chat import ChatRequest, parse
from dycoke_cli.server.inspecting import (
    MOST_FRAMES,
    TextDelta,
    checked,
    inspected,
)
from dycoke_cli.server.limits import Allowance, ReaderShares, Recent
from dycoke_cli.server.media import FRAMES_PER_SECOND, Media, MediaFile, opened, opened_pictures
from dycoke_cli.server.messages import JpegTimes, VideoPart
from dycoke_cli.server.refused import Refused, gone, refused
from dycoke_cli.server.replies import DONE, STILL_HERE, ChatReply, ParsedAnswer, event
from dycoke_cli.server.request_keys import THINKING
from dycoke_cli.server.responses import (
    HeldResponse,
    ResponsesReply,
    ResponsesRequest,
    parse_responses,
)
from dycoke_cli.server.service import Service
from dycoke_cli.server.tools import ForcedCallParser
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.video import Clip


# More than texts of any language have, about twice as many as English.
_BYTES_PER_TOKEN = 8
_NAMED = 20  # ignored keys in a warning


def check_text(request: ChatRequest, context: int) -> None:
    """Refuse a request whose text can't fit into the context, by its length.

    The text isn't divided into tokens for that: megabytes take the tokenizer seconds, while nobody
    else is answered.
    """
    turns = [text for turn in request.history for text in turn]
    texts = (request.question, tools_text(request.question), *turns)
    size = sum(len(text.encode()) for text in texts)
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
    inspect: bool = False,
) -> Ask:
    """Open a request's videos; those of its body are `received`."""
    media, defaults = replace(service.media, received=received), service.defaults
    files = [_opened(part, media, allowance, stack) for part in request.videos]
    pairs = [*zip(request.videos, files, strict=True)]
    digests = [_digest(part, file, service.handles, owner) for part, file in pairs]
    videos = tuple(
        _footage(part, file, request, (owner, digest), allowance.pixels)
        for (part, file), digest in zip(pairs, digests, strict=True)
    )
    # The cautions are those of the server's method.
    if request.method != defaults.method:
        defaults = defaults.with_method(request.method)
    asked = replace(
        defaults,
        cautions=(*defaults.cautions, *_cautions(request)),
        sampling=request.sampling,
        generation=request.generation,
        max_tokens=request.max_tokens,
    )
    ask = Ask(request.question, asked, videos, request.history)
    for part, file in pairs:
        if file is None and not service.engine.holds(ask, decoded=inspect):
            raise _unknown(part)
    for part, digest in zip(request.videos, digests, strict=True):
        if part.uuid is not None:
            service.handles.keep((owner, part.uuid), digest)
    return ask


def _cautions(request: ChatRequest) -> list[str]:
    """A warning about keys that have no effect."""
    if not request.ignored:
        return []
    named = ", ".join(request.ignored[:_NAMED])
    others = len(request.ignored) - _NAMED
    more = f" and {others:,} more" if others > 0 else ""
    return [f"these keys of the request have no effect: {named}{more}"]


def _opened(
    part: VideoPart, media: Media, allowance: Allowance, stack: ExitStack
) -> MediaFile | None:
    """The file of a video, as long as the stack is open; None where a handle names it."""
    if part.pictures:
        return stack.enter_context(opened_pictures(part.pictures, media, allowance))
    return None if part.url is None else stack.enter_context(opened(part.url, media, allowance))


def _digest(part: VideoPart, file: MediaFile | None, handles: Recent[str], owner: Hashable) -> str:
    if file is not None:
        return file.digest
    digest = None if part.uuid is None else handles.find((owner, part.uuid))
    if digest is None:
        raise _unknown(part)
    return digest


def _unknown(part: VideoPart) -> Refused:
    if part.uuid is None:
        return Refused("a video has no url")
    return Refused(
        "no video of this uuid or response is cached with these frames: send it again",
        status=404,
        code="video_not_held",
    )


@dataclass(frozen=True)
class _Timed:
    """Gives pictures that were read the times that a request says."""

    times: JpegTimes  # of the request
    count: int  # pictures of the list

    def __call__(self, clip: Clip) -> Clip:
        numbers = [round(time_s * FRAMES_PER_SECOND) for time_s in clip.timestamps_s]
        return self.times.applied(clip, numbers, self.count)


def _footage(
    part: VideoPart, file: MediaFile | None, request: ChatRequest, content: Hashable, pixels: int
) -> Footage:
    times = request.times
    if part.times_s and times == JpegTimes():
        times = JpegTimes.of(part.times_s)
    identity = (content, times)
    if file is None:
        return Footage("", "", identity=identity)
    one = Footage(file.path, file.shown, shown_as=file.shown, identity=identity, pixels=pixels)
    if file.frames is None:
        return one
    # All of them, or evenly as many as may be.
    sampling = request.sampling
    most = sampling.max_frames if sampling.fps is not None else sampling.frames
    count = min(file.frames, most or file.frames)
    chosen = Sampling(frames=count, picture_fps=FRAMES_PER_SECOND)
    return replace(one, sampling=chosen, edit=_Timed(times, file.frames), count=count)


_POLL_S = 1.0
_Found = str | TextDelta | Answer | dict[str, Any] | BaseException
"""A part of an answer, or its last: the answer, an inspection or an error."""
_LOOK_S = 0.2  # at whether a client has left whose videos are read


class Answering:
    """A request to /v1/chat/completions, whose answers the engine generates."""

    inspect: ClassVar[bool] = False

    def __init__(
        self, service: Service, request: ChatRequest, http: Request, reply: Reply | None = None
    ) -> None:
        self._service, self.request, self._http = service, request, http
        self._owner = http.state.owner
        self._sender = self._owner, http.client and http.client.host
        self._events: asyncio.Queue[_Found] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._pendings: list[Pending] = []
        self._files = ExitStack()
        self._allowance = service.allowance(request)
        self._reason: Exception | None = None  # why it was ended
        self._answers: list[Answer] = []
        self._ended = False
        self._reply = reply or ChatReply(service.defaults.model, request.include_usage)

    @classmethod
    def read(cls, body: bytes, service: Service, owner: Hashable) -> Any:
        """The request in a body, for the constructor; `owner` has sent it.

        Raises:
            Refused: see `parse`.
            UsageError: likewise.
        """
        return for_model(service, parse(body, service.defaults, service.most_frames))

    async def begin(self, readers: ReaderShares, videos: Mapping[str, Spooled]) -> None:
        """Submit the question, and wait until its videos are read."""
        if self._service.context is not None:
            check_text(self.request, self._service.context)
        read = partial(self._read, videos)
        reading = readers.run(self._sender, read) if self.request.videos else run_sync(read)
        await self._watched(asyncio.create_task(reading))

    def _read(self, videos: Mapping[str, Spooled]) -> None:
        engine, allowance = self._service.engine, self._allowance
        given = (self.request, self._service, videos, self._files, allowance)
        with allowance:
            self._ask = prepare(*given, owner=self._owner, inspect=self.inspect)
            self._submit()
            first = self._pendings[0]
            while not engine.wait_until_read(first, min(_LOOK_S, allowance.left_s)):
                allowance.check()
        if first.is_read:
            self._files.close()

    def _submit(self) -> None:
        """Submit the question, once for each answer; each has a seed of its own."""
        seed, asks = self._ask.request.generation.seed, [self._ask] * self.request.answers
        if seed is not None:
            asks = [_seeded(ask, seed + number) for number, ask in enumerate(asks)]
        self._pendings = self._service.engine.submit(
            *asks,
            client=Client(owner=self._sender),
            on_event=self._receive,
            streams=self.request.stream,
            decoded=self.inspect,
            work=self._work(),
        )

    def _work(self) -> Work | None:
        """What is made of the video in place of an answer."""
        return None

    def end(self, reason: Exception) -> None:
        """End it, at whatever it is; the client gets the reason."""
        self._reason = reason
        self._allowance.end(reason)
        for pending in self._pendings:
            pending.cancel()
        self._events.put_nowait(reason)

    async def whole(self) -> dict[str, Any]:
        """The object of the answers; the client may leave meanwhile."""
        while not self._ended:
            found = await self._next()
            if isinstance(found, BaseException):
                raise found
            if not self._ended and await self._http.is_disconnected():
                raise gone()
        parsed = [*map(self._parse, self._answers)]
        self._hold(parsed[-1])
        return self._reply.whole(self._answers, parsed)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of the reply; one that fails ends with the error."""
        yield self._reply.first()
        parsed = self._new_parser()
        while not self._ended:
            index = len(self._answers)
            found = await self._next()
            if found is None:
                yield STILL_HERE
            elif isinstance(found, str):
                for piece in parsed.add(found):
                    yield self._reply.piece(piece, index)
            elif isinstance(found, Answer):
                for piece in parsed.end():
                    yield self._reply.piece(piece, index)
                self._hold(parsed)
                yield self._reply.end(self._answers, parsed, more=not self._ended)
                parsed = self._new_parser()
            elif isinstance(found, BaseException):
                yield self._reply.failed(refused(found))

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
        if left and not self._ended:
            self._service.metrics.add("cancelled_total")
        for pending in left:
            pending.cancel()
        self._files.close()

    def _hold(self, parsed: ParsedAnswer) -> None:
        """Hold the conversation up to the last answer, if later requests may go on from it."""

    def _new_parser(self) -> ParsedAnswer:
        """Of an answer to the request."""
        calls, tools, forced = self._service.calls, self.request.tools, self.request.offer.forced
        if forced is not None:
            return ParsedAnswer(ForcedCallParser(forced), named=forced.named)
        return ParsedAnswer(calls.parser(tools) if tools and calls is not None else None)

    def _parse(self, answer: Answer) -> ParsedAnswer:
        """A whole answer, parsed."""
        parsed = self._new_parser()
        parsed.add(answer.answer)
        parsed.end()
        return parsed

    async def _next(self) -> _Found | None:
        """What comes next of the answers; None where nothing comes for a while."""
        try:
            found = await asyncio.wait_for(self._events.get(), _POLL_S)
        except TimeoutError:
            return None
        if isinstance(found, Answer):
            self._answers.append(found)
            self._ended = len(self._answers) == self.request.answers
        else:
            self._ended = not isinstance(found, (str, TextDelta))
        return found

    def _receive(self, _: Pending, event: Event | TextDelta) -> None:
        """Take an event of the engine, whose thread calls this."""
        found: _Found
        if isinstance(event, Text):
            found = event.text
        elif isinstance(event, Answered):
            found = event.answer
        elif isinstance(event, Failed):
            found = event.error
        elif isinstance(event, Done):
            found = event.value
        elif isinstance(event, TextDelta):
            found = event
        else:
            return
        with suppress(RuntimeError):  # the loop is closed: the server ends
            self._loop.call_soon_threadsafe(self._events.put_nowait, found)


Reply = ChatReply | ResponsesReply


def _seeded(ask: Ask, seed: int) -> Ask:
    generation = replace(ask.request.generation, seed=seed % (LARGEST_SEED + 1))
    return replace(ask, request=replace(ask.request, generation=generation))


def for_model(service: Service, request: ChatRequest, *, inspect: bool = False) -> ChatRequest:
    """A request as the model that is served takes it."""
    if request.against is not None and not inspect:
        raise Refused("dycoke.against is for POST /inspect")
    context, most = service.context, request.generation.max_new_tokens
    if context is not None and most >= context:
        generation = replace(request.generation, max_new_tokens=WHAT_FITS)
        request = replace(request, generation=generation)
    return _with_tools_of(service, _with_template_of(service, request))


def _with_template_of(service: Service, request: ChatRequest) -> ChatRequest:
    """A request with variables of the chat template; those that it doesn't have are ignored."""
    ignored = [*request.ignored]
    variables: dict[str, bool] = {}
    for path, name, value in request.template:
        if name not in service.template_names:
            ignored.append(path)
            continue
        if name != THINKING or not isinstance(value, bool) or request.has_tool_turns:
            raise Refused(
                f"{path} isn't supported: of the variables of the model's chat template, a request "
                f"without tools may set {THINKING}, to true or false; leave it out",
                path,
            )
        if variables.setdefault(name, value) is not value:
            raise Refused(f"{path} and another key differ: send one of them", path)
    if variables:
        request = replace(request, question=QuestionWithVariables(request.question, variables))
    return replace(request, ignored=tuple(ignored))


def _with_tools_of(service: Service, request: ChatRequest) -> ChatRequest:
    """A request whose answer calls tools as the model writes calls."""
    model, calls, strict = service.defaults.model, service.calls, request.offer.strict
    if request.has_tool_turns and calls is None:
        raise Refused(
            f"{model} can't call tools: its chat template takes none, or nothing here parses its "
            "calls; leave tools out",
            "tools",
        )
    if strict is None or calls is None:
        return request
    if calls.marks is None:
        raise Refused(
            f"{model} doesn't write calls as JSON, so that neither strict nor one call at most can "
            "be promised: send strict false and no parallel_tool_calls, or tool_choice required",
            "tools",
        )
    form = strict.form(calls.marks)
    return replace(request, generation=replace(request.generation, structured=form))


class Inspecting(Answering):
    """One that is inspected: a stream of pieces of its answers, which ends with the page's data."""

    inspect: ClassVar[bool] = True

    def _submit(self) -> None:
        """See `Answering._submit`."""
        if self.request.against is not None:
            shown = self._ask.request.with_method(self.request.against)
            self._service.engine.check(shown, len(self._ask.videos))
        super()._submit()

    def _work(self) -> Work:
        """See `Answering._work`."""
        return partial(inspected, self.request)

    @classmethod
    def read(cls, body: bytes, service: Service, owner: Hashable) -> ChatRequest:
        """See `Answering.read`."""
        most = min(service.most_frames, MOST_FRAMES)
        request = parse(body, replace(service.defaults, max_tokens=None), most)
        return for_model(service, checked(request), inspect=True)

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `Answering.chunks`."""
        while not self._ended:
            found = await self._next()
            if found is None:
                yield STILL_HERE
            elif isinstance(found, TextDelta):
                yield event(vars(found))
            elif isinstance(found, dict):
                yield await run_sync(event, found)  # some are megabytes
            elif isinstance(found, BaseException):
                yield event(refused(found).document)
        yield DONE


class Responding(Answering):
    """One to /v1/responses; it is held, so that a later one can go on from it."""

    def __init__(self, service: Service, request: ResponsesRequest, http: Request) -> None:
        reply = ResponsesReply(service.defaults.model, request)
        super().__init__(service, request.chat, http, reply)
        self._responses = request

    @classmethod
    def read(cls, body: bytes, service: Service, owner: Hashable) -> ResponsesRequest:
        """See `Answering.read`."""

        def find(response: str) -> HeldResponse | None:
            return service.responses.find((owner, response))

        request = parse_responses(body, service.defaults, service.most_frames, find)
        return replace(request, chat=for_model(service, request.chat))

    def _hold(self, parsed: ParsedAnswer) -> None:
        """See `Answering._hold`."""
        if self._responses.store:
            held = self._responses.held(self._answers[-1], parsed)
            self._service.responses.keep((self._owner, self._responses.id), held)

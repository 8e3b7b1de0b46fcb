"""The addresses of the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from dycoke_cli import request as requests
from dycoke_cli.answer.answer import Answer
from dycoke_cli.server.access import HEALTH, PAGE
from dycoke_cli.server.admission import Admission
from dycoke_cli.server.bodies import json_reply
from dycoke_cli.server.chat_request import ChatRequest, parse
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.incoming import BodyLimits, Spooled, received
from dycoke_cli.server.inspecting import (
    HEADERS,
    MOST_FRAMES,
    InspectionResult,
    TextDelta,
    checked,
    shown_page,
)
from dycoke_cli.server.media import Media
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.prepare import FitsContext, ReadClip, check_text, prepare
from dycoke_cli.server.refused import Refused, gone, refused
from dycoke_cli.server.replies import DONE, STILL_HERE, Reply, event, models
from dycoke_cli.server.session_cache import SessionCache
from dycoke_cli.server.task import Event, Task

_POLL_S = 1.0
_READERS = 2
_SCANNERS = 1  # they hold the interpreter's lock, which the event loop needs, too


@dataclass(frozen=True)
class Service:
    """What the addresses need.

    Args:
        defaults: for all that a request doesn't say.
        engine: answers.
        sessions: encoded videos, by what was read.
        media: where videos may come from.
        read: reads the frames of a file.
        admission: how much is taken on.
        metrics: counts.
        most_frames: of a video.
        bodies: limits on those of requests.
        context: tokens of the model's context; None where it isn't known.
        fits: checks the frames of a video before they are decoded.
    """

    defaults: requests.Request
    engine: EngineThread
    sessions: SessionCache
    media: Media
    read: ReadClip
    admission: Admission
    metrics: Metrics
    most_frames: int
    bodies: BodyLimits
    context: int | None = None
    fits: FitsContext = lambda plan, method, new: None
    started: int = field(default_factory=lambda: int(time.time()))


def make_app(service: Service, needs_key: bool) -> FastAPI:
    """The application; who may ask it is for `access`.

    Args:
        service: what answers.
        needs_key: whether a request must bring one.
    """
    # No pages of its own: they would load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    readers, scanners = CapacityLimiter(_READERS), CapacityLimiter(_SCANNERS)
    most_bytes = service.bodies.most_bytes
    html = shown_page(service.defaults, service.most_frames, most_bytes, needs_key)

    async def answered(http: Request, kind: type[_Answering]) -> Response:
        with ExitStack() as stack:
            try:
                # Before the body, which may be large; it takes a place only once it has come, so
                # that slow clients don't keep out others.
                service.admission.check()
                incoming = received(http, service.bodies, service.admission, scanners)
                async with incoming as body:
                    request = await run_sync(kind.read, body.json, service, limiter=scanners)
                    stack.enter_context(service.admission.admitted())
                    answering = kind(service, request, http)
                    stack.callback(answering.leave)
                    await answering.begin(readers, body.media)
                if not request.stream:
                    return json_reply(await answering.whole())
                return _Stream(answering.chunks(), stack.pop_all())
            except Exception as error:
                reason = refused(error)
                return json_reply(reason.document, reason.status, reason.headers)

    @app.post("/v1/chat/completions")
    async def chat(http: Request) -> Response:
        return await answered(http, _Answering)

    @app.post("/inspect")
    async def show(http: Request) -> Response:
        return await answered(http, _Inspecting)

    @app.get(PAGE)
    async def front_page() -> Response:
        return HTMLResponse(html, headers=HEADERS)

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return models(service.defaults.model, service.started)

    @app.get(HEALTH)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(
            service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> Response:
        reason = Refused(error.status_code, str(error.detail).lower(), "not_found")
        return json_reply(reason.document, reason.status)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, error: ClientDisconnect) -> Response:
        reason = refused(error)
        return json_reply(reason.document, reason.status)

    return app


class _Stream(StreamingResponse):
    """A stream of events; `leaving` is closed when it has ended, or its client has gone."""

    def __init__(self, chunks: AsyncIterator[bytes], leaving: ExitStack) -> None:
        super().__init__(chunks, media_type="text/event-stream")
        self._leaving = leaving

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        with self._leaving:
            await super().__call__(scope, receive, send)


class _Answering:
    """One request on its way through the engine."""

    inspect: ClassVar[bool] = False

    def __init__(self, service: Service, request: ChatRequest, http: Request) -> None:
        self._service, self._request, self._http = service, request, http
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._task: Task | None = None
        self._ended = False
        self._reply = Reply(service.defaults.model)

    @classmethod
    def read(cls, body: bytes, service: Service) -> ChatRequest:
        """The request in a body.

        Raises: as of `parse`.
        """
        request = parse(body, service.defaults, service.most_frames)
        if request.against is not None:
            raise Refused(400, "dycoke.against is for POST /inspect")
        return request

    async def begin(self, readers: CapacityLimiter, videos: Mapping[str, Spooled]) -> None:
        """Read the videos, and let the engine have the task; `videos` are those of the body."""
        service = self._service
        if service.context is not None:
            check_text(self._request, service.context)
        model, send = service.engine.traits, self._send
        media = replace(service.media, received=videos)
        given = (self._request, model, media, service.sessions, service.read, service.fits, send)
        reading = partial(prepare, *given, service.engine.fit, inspect=self.inspect)
        self._task = task = await run_sync(reading, limiter=readers)
        if await self._http.is_disconnected():
            raise gone()
        service.engine.submit(task)

    async def whole(self) -> dict[str, Any]:
        """The object of the answer; the client may leave meanwhile."""
        while True:
            found = await self._next()
            if isinstance(found, BaseException):
                raise found
            if isinstance(found, Answer):
                return self._reply.whole(found)
            if await self._http.is_disconnected():
                raise gone()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of the answer; one that fails ends with the error."""
        yield self._reply.first()
        while not self._ended:
            found = await self._next()
            if found is None:
                yield STILL_HERE
            elif isinstance(found, str):
                yield self._reply.text(found)
            elif isinstance(found, Answer):
                yield self._reply.last(found, self._request.include_usage)
            elif isinstance(found, BaseException):
                yield event(refused(found).document)

    def leave(self) -> None:
        """End what is under way, if nobody has seen the end of it."""
        if self._task is not None and not self._ended:
            self._service.metrics.add("cancelled_total")
            self._task.cancelled.set()

    async def _next(self) -> Event | None:
        """The next event; None where none comes for a while."""
        try:
            found = await asyncio.wait_for(self._events.get(), _POLL_S)
        except TimeoutError:
            return None
        self._ended = not isinstance(found, (str, TextDelta))
        return found

    def _send(self, found: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server ends
            self._loop.call_soon_threadsafe(self._events.put_nowait, found)


class _Inspecting(_Answering):
    """One that is inspected: a stream of pieces of its answers, which ends with the page's data."""

    inspect: ClassVar[bool] = True

    @classmethod
    def read(cls, body: bytes, service: Service) -> ChatRequest:
        """See `_Answering.read`."""
        most = min(service.most_frames, MOST_FRAMES)
        return checked(parse(body, service.defaults, most))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces, then the data; one that fails ends with the error."""
        while not self._ended:
            found = await self._next()
            if found is None:
                yield STILL_HERE
            elif isinstance(found, TextDelta):
                yield event(vars(found))
            elif isinstance(found, InspectionResult):
                yield await run_sync(event, found.data)  # some are megabytes
            elif isinstance(found, BaseException):
                yield event(refused(found).document)
        yield DONE

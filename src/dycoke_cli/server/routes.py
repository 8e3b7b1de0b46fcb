"""The addresses of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from dycoke_cli.server.access import HEALTH, PAGE
from dycoke_cli.server.admission import ReaderShares
from dycoke_cli.server.bodies import json_reply
from dycoke_cli.server.chat_request import check_model
from dycoke_cli.server.exchange import Answering, Chatting, Inspecting, Responding
from dycoke_cli.server.incoming import received
from dycoke_cli.server.inspecting import HEADERS, shown_page
from dycoke_cli.server.refused import Refused, refused
from dycoke_cli.server.replies import model
from dycoke_cli.server.service import Service
from dycoke_cli.unicode import display_name

_READ = ["GET", "HEAD"]
_SCANNERS = 1  # they hold the interpreter's lock, which the event loop needs, too
_PARSERS = 2  # a schema may take one half a second, without the lock


def make_app(service: Service, needs_key: bool) -> FastAPI:
    """The application; who may ask it is for `access`.

    Args:
        needs_key: whether a request must bring one.
    """
    # No pages of its own: they would load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    scanners, parsers = map(CapacityLimiter, (_SCANNERS, _PARSERS))
    readers = ReaderShares()
    most_bytes = service.bodies.most_bytes
    html = shown_page(service.defaults, service.most_frames, most_bytes, needs_key)

    async def answered(http: Request, kind: type[Answering]) -> Response:
        with ExitStack() as stack:
            try:
                # Before the body, which may be large; it takes a place only once it has come, so
                # that slow clients don't keep out others.
                service.admission.check()
                incoming = received(http, service.bodies, service.admission, scanners)
                async with incoming as body:
                    owner = http.state.owner
                    stack.enter_context(service.admission.admitted())
                    request = await run_sync(kind.read, body.json, service, owner, limiter=parsers)
                    answering = kind(service, request, http)
                    stack.callback(answering.leave)
                    stack.enter_context(service.underway.added(answering.end))
                    await answering.begin(readers, body.media)
                if not answering.request.stream:
                    return json_reply(await answering.whole())
                return _Stream(answering.chunks(), stack.pop_all())
            except Exception as error:
                reason = refused(error)
                return json_reply(reason.document, reason.status, reason.headers)

    @app.post("/v1/chat/completions")
    async def chat(http: Request) -> Response:
        return await answered(http, Chatting)

    @app.post("/v1/responses")
    async def respond(http: Request) -> Response:
        return await answered(http, Responding)

    @app.post("/inspect")
    async def show(http: Request) -> Response:
        return await answered(http, Inspecting)

    @app.api_route(PAGE, methods=_READ)
    async def front_page() -> Response:
        return HTMLResponse(html, headers=HEADERS)

    served = model(service.defaults.model, service.started, service.context)

    @app.api_route("/v1/models", methods=_READ)
    @app.api_route("/v1/models/", methods=_READ)
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [served]}

    @app.api_route("/v1/models/{name:path}", methods=_READ)
    async def one_model(name: str) -> Response:
        try:
            check_model({"model": name}, service.defaults)
        except Refused as reason:
            return json_reply(reason.document, reason.status)
        return json_reply(served)

    @app.api_route(HEALTH, methods=_READ)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(
            service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.exception_handler(HTTPException)
    async def no_route(http: Request, error: HTTPException) -> Response:
        path, headers = display_name(http.url.path)[:100], dict(error.headers or {})
        sentence, code = str(error.detail).lower(), "usage"
        if error.status_code == HTTPStatus.NOT_FOUND:
            code = "not_found"
            sentence = (
                f"there is no {path}; the base URL of this server is {http.base_url}v1, with "
                "/chat/completions, /responses and /models"
            )
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            code = "method_not_allowed"
            sentence = f"{path} takes {headers['Allow']}, not {http.method}"
        reason = Refused(error.status_code, sentence, code, headers)
        return json_reply(reason.document, reason.status, reason.headers)

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

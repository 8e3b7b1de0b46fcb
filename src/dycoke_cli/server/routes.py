"""The addresses of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any

from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dycoke_cli.server.access import HEALTH, METRICS
from dycoke_cli.server.chat import Reader, check_model, read_chat
from dycoke_cli.server.decisions import read_decisions, read_systemone
from dycoke_cli.server.exchange import Answering, read
from dycoke_cli.server.limits import Shares, sender_of
from dycoke_cli.server.refused import Refused, refused
from dycoke_cli.server.replies import json_reply
from dycoke_cli.server.request_body import received
from dycoke_cli.server.responses import read_responses
from dycoke_cli.server.service import Service
from dycoke_cli.unicode import display_name

_SCANNERS = 1  # they hold the interpreter's lock, which the event loop needs, too
# Threads, and those of one sender: a schema may take half a second of one, an opened video 20 s.
_PARSERS, _READERS = (2, 1), (4, 2)


def make_app(service: Service) -> Starlette:
    """The application; who may ask it is for `access`."""
    scanners = CapacityLimiter(_SCANNERS)
    parsers, readers = Shares(*_PARSERS), Shares(*_READERS)
    about = {"created": service.started, "owned_by": "dycoke", "max_model_len": service.context}
    served = {"id": service.defaults.model_name, "object": "model", **about}

    async def answered(
        http: Request, reader: Reader, refuse: Callable[[Refused], Response]
    ) -> Response:
        with ExitStack() as stack:
            try:
                # Before the body, which may be large; it takes a place only once it has come, so
                # that slow clients don't keep out others.
                service.admission.check()
                incoming = received(http, service.bodies, service.admission, scanners)
                async with incoming as body:
                    stack.enter_context(service.admission.admitted())
                    parse = partial(read, bytes(body.json), reader, service)
                    reply = await parsers.run(sender_of(http), parse)
                    answering = Answering(service, http, reply)
                    stack.callback(answering.leave)
                    stack.enter_context(service.underway.added(answering.end))
                    await answering.begin(readers, body.media)
                if not answering.request.stream:
                    return json_reply(await answering.whole())
                return _Stream(answering.chunks(), stack.pop_all())
            except Exception as error:
                return refuse(refused(error))

    async def list_models(_: Request) -> Response:
        return json_reply({"object": "list", "data": [served]})

    async def one_model(http: Request) -> Response:
        check_model(http.path_params, service.defaults)
        return json_reply(served)

    async def health(_: Request) -> Response:
        return json_reply({"status": "ok"})

    async def metrics(_: Request) -> Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return PlainTextResponse(service.metrics.text(), media_type=kind)

    def asked(path: str, reader: Reader, refuse: Any = _refusal) -> Route:
        return Route(path, partial(answered, reader=reader, refuse=refuse), methods=["POST"])

    return Starlette(
        routes=[
            asked("/v1/chat/completions", read_chat),
            asked("/v1/responses", read_responses),
            asked("/v1/decisions", read_decisions),
            asked("/v1/systemone", read_systemone, _details),
            Route("/v1/models", list_models),
            Route("/v1/models/", list_models),
            Route("/v1/models/{model:path}", one_model),
            Route(HEALTH, health),
            Route(METRICS, metrics),
        ],
        exception_handlers={
            HTTPException: _no_route,
            ClientDisconnect: _refused,
            Refused: _refused,
        },
    )


async def _no_route(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, headers = display_name(http.url.path)[:100], dict(error.headers or {})
    sentence, code = str(error.detail).lower(), "usage"
    if error.status_code == HTTPStatus.NOT_FOUND:
        code = "not_found"
        sentence = (
            f"there is no {path}; the base URL of this server is {http.base_url}v1, with "
            "/chat/completions, /responses, /decisions, /systemone and /models"
        )
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        code = "method_not_allowed"
        sentence = f"{path} takes {headers['Allow']}, not {http.method}"
    return _refusal(Refused(sentence, status=error.status_code, code=code, headers=headers))


async def _refused(_: Request, error: Exception) -> Response:
    return _refusal(refused(error))


def _refusal(reason: Refused) -> Response:
    return json_reply(reason.document, reason.status, reason.headers)


def _details(reason: Refused) -> Response:
    """A refusal as servers of System One have it: FastAPI's object, and its status."""
    if reason.code != "usage" or reason.parameter is None:
        return json_reply({"detail": reason.sentence}, reason.status, reason.headers)
    where = ["body", *reason.parameter.split(".")]
    about = {"loc": where, "msg": reason.sentence, "type": "value_error"}
    return json_reply({"detail": [about]}, HTTPStatus.UNPROCESSABLE_ENTITY, reason.headers)


class _Stream(StreamingResponse):
    """A stream of events; `leaving` is closed when it has ended, or its client has gone."""

    def __init__(self, chunks: AsyncIterator[bytes], leaving: ExitStack) -> None:
        super().__init__(chunks, media_type="text/event-stream")
        self._leaving = leaving

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        with self._leaving:
            await super().__call__(scope, receive, send)

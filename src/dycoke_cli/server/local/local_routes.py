"""The local API's routes: questions of commands of the same user.

They belong to the application that has `/v1`; `access.py` serves them at the unix socket only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI, Response
from fastapi import Request as HttpRequest

from dycoke_cli.answer.json_schema import from_dict
from dycoke_cli.ask import Event, Failed
from dycoke_cli.compression.registry import described
from dycoke_cli.errors import DycokeError
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.pending import Client, Pending
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.server.bodies import json_reply, read_lines
from dycoke_cli.server.local.event_stream import ClientGoneError, EventStream
from dycoke_cli.server.local.wire import (
    ASK_PATH,
    MOST_BYTES,
    STOP_PATH,
    ProtocolSetup,
    ask_of_json,
    code,
    event_to_json,
    model_key,
)
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.service import Service
from dycoke_cli.storage.cache_folder import cache_folder

_REQUEST_TIMEOUT_S = 10.0


def add_local_routes(app: FastAPI, service: Service, stop: Callable[[], None]) -> None:
    """Add the routes to the application."""
    engine, defaults, underway = service.engine, service.defaults, service.underway

    @app.post(ASK_PATH)
    async def ask(http: HttpRequest) -> Response:
        lines = read_lines(http, MOST_BYTES)
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                sent = await anext(lines, None)
        except TimeoutError as error:
            raise Refused(408, "the first line didn't come", "timeout") from error
        asking = _Asking(matched(sent, defaults, service.loading), engine, defaults)
        return EventStream(http, asking.begin, underway, partial(asking.read, lines))

    @app.post(STOP_PATH)
    async def end() -> dict[str, bool]:
        stop()
        return {"stopping": True}

    @app.exception_handler(Refused)
    async def refuse(_: HttpRequest, reason: Refused) -> Response:
        return json_reply(reason.document, reason.status, reason.headers)


class _Asking:
    """Questions of one command."""

    def __init__(self, setup: ProtocolSetup, engine: Engine, defaults: Request) -> None:
        self._setup, self._engine, self._defaults = setup, engine, defaults
        self._client = Client(
            bulk=setup.bulk, batch_size=setup.batch_size, caches=setup.cache is not None
        )
        self._pending: dict[int, Pending] = {}

    def begin(self, stream: EventStream) -> None:
        """Say that questions may come."""
        about: dict[str, Any] = {}
        if self._setup.bulk:
            from dycoke_cli.loop.plan import plan_of
            from dycoke_cli.models.resolve import resolve_model

            # The server's dtype: another would be chosen by the memory that is free beside its
            # model.
            dtype = self._engine.call(lambda loaded: loaded.model.dtype)
            request = self._setup.request.asked_of(self._defaults)
            loading = self._setup.loading.with_dtype(dtype)
            plan = plan_of(request, resolve_model(request.model, loading))
            about["method"] = described(plan.request.method)
            about["identity"] = plan.identity
            about["audio_rate"] = plan.request.sampling.audio_rate
        stream.send({"event": "ready", **about})

    async def read(self, lines: AsyncIterator[Any], stream: EventStream) -> None:
        """Submit questions as they arrive.

        When the lines end, the command has: what is under way for it ends, too.
        """
        # Without `occupied` the model could be unloaded between two questions.
        with self._engine.occupied():
            try:
                async for sent in lines:
                    await run_sync(self._take, sent, stream)
            except (Refused, ValueError, KeyError, DycokeError) as error:
                stream.fail(error)
            finally:
                self._client.is_over = True
                for pending in [*self._pending.values()]:
                    pending.cancel()
                stream.end()
                await run_sync(self._engine.prepare)

    def _take(self, sent: Any, stream: EventStream) -> None:
        """Take a line of the command."""
        line = from_dict(dict[str, Any], sent)
        if "ask" in line:
            self._submit(from_dict(int, line.pop("ask")), line, stream)
        elif "cancel" in line:
            if (pending := self._pending.get(from_dict(int, line["cancel"]))) is not None:
                pending.cancel()
        elif "over" in line:
            self._client.is_over = True
        elif "free" in line:
            self._engine.drop(self._client)
        else:
            self._engine.leave(self._client)

    def _submit(self, number: int, sent: dict[str, Any], stream: EventStream) -> None:
        def receive(pending: Pending, event: Event) -> None:
            try:
                stream.send(event_to_json(number, event))
            except ClientGoneError:
                pending.cancel()

        streams = from_dict(bool, sent.pop("streams", None))
        try:
            ask = ask_of_json(sent, self._defaults)
            [pending] = self._engine.submit(
                ask, client=self._client, on_event=receive, streams=streams
            )
        except DycokeError as error:
            stream.send(event_to_json(number, Failed(error)))
            return
        self._pending = {n: one for n, one in self._pending.items() if not one.has_ended}
        self._pending[number] = pending


def matched(sent: Any, defaults: Request, loading: LoadOptions | None = None) -> ProtocolSetup:
    """Check that this server's model answers as the command itself would."""
    # Before anything is parsed: another version may have other keys, and the reason is the version.
    if not isinstance(sent, dict) or sent.get("code") != code():
        raise _in_process("it runs another version of dycoke, or other plug-ins")
    try:
        setup: ProtocolSetup = from_dict(ProtocolSetup, sent)
        method = setup.request.asked_of(defaults).method
    except (ValueError, KeyError, DycokeError) as error:
        raise _in_process("it doesn't understand the request") from error
    if setup.model != model_key(defaults.model):
        raise _in_process(f"it has the model {defaults.model}")
    if setup.loading not in (defaults.loading, loading):
        raise _in_process(f"it has loaded {defaults.model} with other flags")
    # A plug-in file that was edited since has other parameters or defaults in the command.
    if described(method) != setup.request.method:
        raise _in_process("a plug-in has changed since it began")
    if setup.cache not in (None, str(cache_folder())):
        raise _in_process("it has another cache folder")
    return setup


def _in_process(reason: str) -> Refused:
    """The refusal that makes a command answer in its own process."""
    return Refused(409, reason, "in_process")

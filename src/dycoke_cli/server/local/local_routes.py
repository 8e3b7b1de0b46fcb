"""The local API's routes: conversations and batches of commands of the same user.

They belong to the application that has `/v1`; `access.py` serves them at the unix socket only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request, Response

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.runs.converse import converse
from dycoke_cli.runs.listener import Listener
from dycoke_cli.server.bodies import (
    check_declared,
    json_reply,
    parse_json,
    read_body,
    read_lines,
)
from dycoke_cli.server.local.event_stream import EventStream
from dycoke_cli.server.local.local_listener import LocalListener
from dycoke_cli.server.local.matching import conversation_of, matched
from dycoke_cli.server.local.wire import ASK_PATH, BATCH_PATH, MOST_BYTES, STOP_PATH, Batch
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.service import Service

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel

_REQUEST_TIMEOUT_S = 10.0


def add_local_routes(
    app: FastAPI, service: Service, listener: LocalListener, stop: Callable[[], None]
) -> None:
    """Add the routes to the application.

    Args:
        app: the application.
        service: has the engine, the model and how that was loaded.
        listener: has a decoder process ready.
        stop: ends the server.
    """
    engine, defaults, underway = service.engine, service.defaults, service.underway

    @app.post(ASK_PATH)
    async def ask(http: Request) -> Response:
        check_declared(http, MOST_BYTES)
        body = await read_body(http, MOST_BYTES, _REQUEST_TIMEOUT_S)
        sent = await run_sync(parse_json, body)
        conversation = conversation_of(sent, defaults)

        def answer(stream: EventStream) -> None:
            def answer_all(loaded: LoadedModel) -> None:
                ready = listener.decoders(conversation)
                for decoder in ready:
                    stream.when_closed(decoder.stop)
                converse(conversation, _EventSender(stream), loaded, ready)

            try:
                engine.call(answer_all)
                stream.send("done")
            finally:
                # After "done": starting a process would make the command wait for its end.
                listener.make_ready()

        return EventStream(http, answer, underway)

    @app.post(BATCH_PATH)
    async def batch(http: Request) -> Response:
        # Imported here because it imports torch, which a server has loaded when it listens.
        from dycoke_cli.server.local.batch_run import BatchRun

        lines = read_lines(http, MOST_BYTES)
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                sent = await anext(lines, None)
        except TimeoutError as error:
            raise Refused(408, "the first line didn't come", "timeout") from error
        run = BatchRun(*matched(Batch, sent, defaults), engine)
        return EventStream(
            http, run.answer, underway, lambda stream: run.take_videos(lines, stream)
        )

    @app.post(STOP_PATH)
    async def end() -> dict[str, bool]:
        stop()
        return {"stopping": True}

    @app.exception_handler(Refused)
    async def refuse(_: Request, reason: Refused) -> Response:
        return json_reply(reason.document, reason.status, reason.headers)


class _EventSender(Listener):
    """Sends all progress as events."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._send = stream.send

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        self._send("stage", stage=stage, done=done, total=total)

    def warning(self, sentence: str) -> None:
        self._send("warning", text=sentence)

    @property
    def on_text(self) -> Callable[[str], None]:
        return lambda text: self._send("text", text=text)

    def begin(self, question: str) -> None:
        self._send("begin", text=question)

    def begin_comparison(self) -> None:
        self._send("begin_comparison")

    def finish(self, answer: Answer) -> None:
        self._send("finish", answer=to_dict(answer))

    def advise(self, sentence: str) -> None:
        self._send("advise", text=sentence)

"""Replies of JSON lines that a thread writes while it works."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from dycoke_cli.models.explaining import explain
from dycoke_cli.server.local.wire import line_of


class ClientGoneError(Exception):
    """The command has ended, and reads no more events."""


class Outbox:
    """Events on their way from a thread to the client. Made in the loop of the server."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = False

    def send(self, event: str, **more: Any) -> None:
        """Send an event, from any thread.

        Raises:
            ClientGoneError: nobody reads it; whoever works for the client ends by that.
        """
        self._put(line_of({"event": event, **more}))

    def fail(self, error: BaseException) -> None:
        """Send an error as the last event, if the client still reads."""
        reason = explain(error)
        with suppress(ClientGoneError):
            self.send("error", code=reason.code, message=str(reason))
            self.end()

    def end(self) -> None:
        """End the stream, from any thread: the last event was sent."""
        with suppress(ClientGoneError):
            self._put(None)

    def close(self) -> None:
        """Take no more events: the stream has ended, or the client has gone. From the loop."""
        self._closed = True
        self._lines.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The lines of the events; those that wait are one chunk, which costs as much as one."""
        last = False
        while not last:
            lines = [await self._lines.get()]
            while not self._lines.empty():
                lines.append(self._lines.get_nowait())
            last = None in lines
            yield b"".join(filter(None, lines))

    def _put(self, line: bytes | None) -> None:
        if self._closed:
            raise ClientGoneError
        try:
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
        except RuntimeError as error:  # the loop is closed: the server ends
            raise ClientGoneError from error


class EventStream(StreamingResponse):
    """A reply of events.

    Args:
        http: the request.
        work: called in a thread of its own with what sends events. It sends "done" at its end; what
            it raises is sent as an "error".
        read: reads the rest of the request meanwhile, where there is one.
    """

    media_type = "application/jsonl"

    def __init__(
        self,
        http: Request,
        work: Callable[[Outbox], None],
        read: Callable[[Outbox], Awaitable[None]] | None = None,
    ) -> None:
        self._http, self._work, self._read = http, work, read
        self._outbox = Outbox()
        super().__init__(self._outbox.chunks())
        threading.Thread(target=self._run, name="local", daemon=True).start()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it, as of ASGI."""
        watching = asyncio.create_task(self._watch())
        try:
            await self.stream_response(send)
        finally:
            self._outbox.close()
            watching.cancel()

    def _run(self) -> None:
        try:
            self._work(self._outbox)
        except ClientGoneError:
            pass
        except Exception as error:
            self._outbox.fail(error)
        self._outbox.end()

    async def _watch(self) -> None:
        """Read the rest of the request, and find out that the client has gone."""
        if self._read is not None:
            await self._read(self._outbox)
        while (await self._http.receive())["type"] != "http.disconnect":
            pass
        self._outbox.close()

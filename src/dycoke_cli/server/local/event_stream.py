"""A response of JSON lines that a thread writes while it works for the client."""

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
from dycoke_cli.server.underway import Underway


class ClientGoneError(Exception):
    """The command has ended and reads no more events."""


class EventStream(StreamingResponse):
    """A response of events. Created in the server's event loop.

    Args:
        work: called with this stream in its own thread. An exception is sent as a "failed" event.
    """

    media_type = "application/jsonl"

    def __init__(
        self,
        http: Request,
        work: Callable[[EventStream], None],
        underway: Underway,
        read: Callable[[EventStream], Awaitable[None]],
    ) -> None:
        super().__init__(self._chunks())
        self._http, self._work, self._read = http, work, read
        self._underway = underway
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()  # None ends the stream
        self._closed = False
        # A thread of its own, not one of the pool: a long conversation would keep one of few busy.
        threading.Thread(target=self._run, name="local", daemon=True).start()

    def send(self, document: dict[str, Any]) -> None:
        """Send an event, from any thread."""
        self._put(line_of(document))

    def fail(self, error: BaseException) -> None:
        """Send an error as the last event, if the client still reads."""
        reason = explain(error)
        with suppress(ClientGoneError):
            self.send({"event": "failed", "code": reason.code, "message": str(reason)})
            self._put(None)

    def end(self) -> None:
        """Note that no more events come."""
        with suppress(ClientGoneError):
            self._put(None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the response (ASGI)."""
        watching = asyncio.create_task(self._watch())
        try:
            with self._underway.added(lambda reason: self._close()):
                await self.stream_response(send)
        finally:
            self._close()
            watching.cancel()

    async def _chunks(self) -> AsyncIterator[bytes]:
        last = False
        while not last:
            lines = [await self._lines.get()]
            # All waiting lines go into one chunk: sending costs the same for one as for many.
            while not self._lines.empty():
                lines.append(self._lines.get_nowait())
            last = None in lines
            yield b"".join(filter(None, lines))

    def _run(self) -> None:
        try:
            self._work(self)
        except ClientGoneError:
            pass
        except Exception as error:
            self.fail(error)

    async def _watch(self) -> None:
        """Read the rest of the request, then wait for the client to disconnect."""
        await self._read(self)
        while (await self._http.receive())["type"] != "http.disconnect":
            pass
        self._close()

    def _close(self) -> None:
        self._closed = True
        self._lines.put_nowait(None)

    def _put(self, line: bytes | None) -> None:
        if self._closed:
            raise ClientGoneError
        try:
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
        except RuntimeError as error:  # the loop is closed: the server is shutting down
            raise ClientGoneError from error

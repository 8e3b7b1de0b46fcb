"""A batch that the user's running server answers: the command's half, an engine of `runs`.

The command finds the videos, knows what is answered already and writes the lines; the server reads
and answers. At most as many videos are sent ahead as a command itself would read ahead.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.registry import restore
from dycoke_cli.errors import DycokeError, error_of
from dycoke_cli.request import Request
from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.plan import Plan
from dycoke_cli.server.local.batch_wire import END, STOP, Batch, batch_job_of
from dycoke_cli.server.local.client import NOT_UTF_8, UnansweredError, events, post
from dycoke_cli.server.local.unix_socket import connect
from dycoke_cli.server.local.wire import BATCH_PATH, line_of, setup_of
from dycoke_cli.unicode import display_name, is_valid

_AHEAD = 64
_LOOK_EVERY_S = 0.5


def open_batch(
    request: Request, jobs: Sequence[Job], batch_size: int | None, cache: bool
) -> tuple[Plan, LocalEngine] | str:
    """Ask the running server to answer a batch.

    Args:
        request: how.
        jobs: all videos.
        batch_size: see `Plan`.
        cache: likewise.

    Returns:
        The plan, and the engine; or why it can't be, for a person: "" where no server runs.

    Raises:
        DycokeError: what is wrong with the request.
    """
    connection = connect()
    if connection is None:
        return ""
    if request.subtitles is not None:
        connection.close()
        return "--subtitles is for a model in this command"
    if not all(is_valid(text) for job in jobs for text in (job.video.path, job.video.shown)):
        connection.close()
        return NOT_UTF_8
    batch = line_of(to_dict(Batch(setup_of(request, cache), batch_size)))
    received = events(connection, post(BATCH_PATH, None) + _chunk(batch))
    try:
        first = next(received)
        if first["event"] == "error":
            raise error_of(first["code"], first["message"])
    except (UnansweredError, DycokeError) as error:
        received.close()
        connection.close()
        if isinstance(error, UnansweredError):
            return str(error)
        raise
    options = {**vars(request), "method": restore(first["method"])}
    plan = Plan(**options, identity=first["identity"], batch_size=batch_size, cache=cache)
    return plan, LocalEngine(connection, received)


class LocalEngine:
    """An engine of `runs.run` that has the running server answer.

    Args:
        connection: over which the server has begun to reply.
        received: the events of the reply behind the plan.
    """

    def __init__(
        self, connection: socket.socket, received: Generator[dict[str, Any], None, None]
    ) -> None:
        self._connection, self._received = connection, received
        self._room = threading.Semaphore(_AHEAD)
        self._left: dict[str, tuple[Job, list[int]]] = {}
        self._over = threading.Event()
        self._failure: BaseException | None = None

    def __call__(self, jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
        """Have all questions answered.

        Raises:
            DycokeError: the server ended, or can't answer any.
        """
        sending = threading.Thread(target=self._send, args=(iter(jobs), plan, listener))
        listener.ready = True
        sending.start()
        try:
            for event in self._received:
                if event["event"] == "error":
                    raise error_of(event["code"], event["message"])
                if event["event"] == "done":
                    break
                yield self._outcome(event)
        except UnansweredError as error:
            if self._failure is None:
                raise DycokeError(
                    "the server ended while it answered; run it again: --out has what was answered"
                ) from error
        finally:
            self._over.set()
            self._hang_up()
            sending.join()
            self._received.close()
            self._connection.close()
        if self._failure is not None:
            raise self._failure

    def _outcome(self, event: dict[str, Any]) -> Outcome:
        job, left = self._left.pop(event["key"])
        left[0] -= 1
        if not left[0]:
            self._room.release()
        line = event["line"]
        if "error" in line and job.video.path != (whole := os.path.abspath(job.video.path)):
            message = line["error"]["message"].replace(
                display_name(whole), display_name(job.video.path)
            )
            line = {**line, "error": {**line["error"], "message": message}}
        return Outcome(event["key"], line, event["seconds"], event["together"])

    def _send(self, jobs: Iterator[Job], plan: Plan, listener: Listener) -> None:
        """Send the videos as there is room; where the run is to stop, no more of them."""
        try:
            while self._has_room(listener):
                job = next(jobs, None)
                if job is None:
                    self._connection.sendall(_chunk(line_of(END)))
                    while not (self._over.wait(_LOOK_EVERY_S) or listener.stopping):
                        pass
                    break
                left = [len(job.questions)]
                for asked in job.questions:
                    self._left[plan.key(job, asked)] = job, left
                self._connection.sendall(_chunk(line_of(to_dict(batch_job_of(job)))))
            if not self._over.is_set():
                self._connection.sendall(_chunk(line_of(STOP)))
        except OSError as error:  # of the connection: whoever reads the reply notices
            if isinstance(error, DycokeError):
                self._fail(error)
        except BaseException as error:
            self._fail(error)

    def _has_room(self, listener: Listener) -> bool:
        while not (listener.stopping or self._over.is_set()):
            if self._room.acquire(timeout=_LOOK_EVERY_S):
                return True
        return False

    def _fail(self, error: BaseException) -> None:
        """End the run with what went wrong while its jobs were drawn."""
        self._failure = error
        self._hang_up()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _chunk(line: bytes) -> bytes:
    """A line as a chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(line), line)

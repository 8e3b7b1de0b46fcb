"""The command's half of a batch that the running server answers: an engine of `runs`.

The command finds the videos, skips what is answered already, and writes the results; the server
decodes and answers.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.registry import restore
from dycoke_cli.errors import DycokeError, error_of
from dycoke_cli.loop.plan import Plan
from dycoke_cli.request import Request
from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.server.local.client import NOT_UTF_8, UnansweredError, events, post
from dycoke_cli.server.local.unix_socket import connect
from dycoke_cli.server.local.wire import (
    BATCH_PATH,
    END,
    STOP,
    Batch,
    BatchJob,
    line_of,
    setup_of,
)
from dycoke_cli.unicode import display_name, is_valid

# As many videos as a command would read ahead itself. Each is hashed before it is sent: without a
# limit the whole folder would be hashed while the first videos are decoded from the same disk.
_AHEAD = 64
_POLL_S = 0.5


def open_batch(
    request: Request, jobs: Sequence[Job], batch_size: int | None, cache: bool
) -> tuple[Plan, LocalEngine] | str:
    """Ask the running server to answer a batch.

    Args:
        request: how questions are asked.
        jobs: all videos.
        batch_size: see `Plan`.
        cache: see `Plan`.

    Returns:
        The plan and the engine; or the reason why the server can't, "" if none is running.

    Raises:
        DycokeError: the request is invalid.
    """
    connection = connect()
    if connection is None:
        return ""
    with ExitStack() as stack:
        stack.enter_context(connection)
        if request.subtitles is not None:
            return "--subtitles is for a model in this command"
        if any(job.sampling is not None for job in jobs):
            return "questions with a start or end of their own are for a model in this command"
        if not all(is_valid(text) for job in jobs for text in (job.video.path, job.video.shown)):
            return NOT_UTF_8
        batch = Batch(setup_of(request, cache), batch_size)
        received = events(connection, post(BATCH_PATH, None) + _chunk(to_dict(batch)))
        stack.enter_context(closing(received))
        try:
            first = next(received)
        except UnansweredError as error:
            return str(error)
        if first.get("event") == "error":
            raise error_of(first["code"], first["message"])
        if first.get("event") != "plan":
            return "it didn't answer"
        opened = stack.pop_all()
    options = {**vars(request), "method": restore(first["method"])}
    plan = Plan(**options, identity=first["identity"], batch_size=batch_size, cache=cache)
    return plan, LocalEngine(connection, received, opened)


class LocalEngine:
    """Engine (`runs.run.Engine`) that sends the questions to the running server.

    Args:
        connection: the server has begun to respond on it.
        received: the events after the plan.
        opened: closes both.
    """

    def __init__(
        self,
        connection: socket.socket,
        received: Generator[dict[str, Any], None, None],
        opened: ExitStack,
    ) -> None:
        self._connection, self._received, self._opened = connection, received, opened
        self._room = threading.Semaphore(_AHEAD)
        # By key of the question: its video, and how many of the video's questions are open.
        self._open: dict[str, tuple[Job, list[int]]] = {}
        self._over = threading.Event()
        self._failure: BaseException | None = None

    def __call__(self, jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
        """Answer all questions.

        Raises:
            DycokeError: the server ended, or can't answer any.
        """
        # Two directions at once: the server answers the first videos while later ones are sent.
        sending = threading.Thread(target=self._send, args=(iter(jobs), plan, listener))
        listener.ready = True
        sending.start()
        try:
            for event in self._received:
                if event.get("event") == "error":
                    raise error_of(event["code"], event["message"])
                if event.get("event") == "done":
                    break
                yield self._outcome(event)
        except UnansweredError as error:
            if self._failure is None:
                raise DycokeError(
                    "the server ended while it answered; run it again: --out has what was answered"
                ) from error
        finally:
            self._over.set()
            self._hang_up()  # releases a thread that is blocked in `sendall`
            sending.join()
            self._opened.close()
        if self._failure is not None:
            raise self._failure

    def _outcome(self, event: dict[str, Any]) -> Outcome:
        if event.get("event") != "outcome" or event["key"] not in self._open:
            raise UnansweredError("it answered another question")
        job, count = self._open.pop(event["key"])
        count[0] -= 1
        if not count[0]:
            self._room.release()
        line = event["line"]
        absolute = os.path.abspath(job.video.path)
        if "error" in line:  # names the path that was sent; the user gave another one
            message = line["error"]["message"].replace(
                display_name(absolute), display_name(job.video.path)
            )
            line = {**line, "error": {**line["error"], "message": message}}
        return Outcome(event["key"], line, event["seconds"], event["together"])

    def _send(self, jobs: Iterator[Job], plan: Plan, listener: Listener) -> None:
        """Send videos while there is room and the run isn't to stop."""
        try:
            while self._has_room(listener):
                job = next(jobs, None)
                if job is None:
                    self._connection.sendall(_chunk(END))
                    # Ctrl-C may still come: the body stays open for `STOP` until the last answer.
                    while not (self._over.wait(_POLL_S) or listener.stopping):
                        pass
                    break
                count = [len(job.questions)]
                for question in job.questions:
                    self._open[plan.key(job, question)] = job, count
                self._connection.sendall(_chunk(to_dict(_sent(job))))
            if not self._over.is_set():
                self._connection.sendall(_chunk(STOP))
        except OSError:
            pass  # of the connection: the thread that reads the response notices
        except BaseException as error:
            self._failure = error
            self._hang_up()

    def _has_room(self, listener: Listener) -> bool:
        while not (listener.stopping or self._over.is_set()):
            if self._room.acquire(timeout=_POLL_S):
                return True
        return False

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _sent(job: Job) -> BatchJob:
    return BatchJob(
        path=os.path.abspath(job.video.path),
        shown=job.video.shown,
        name=job.video.name,
        questions=tuple((question.id, question.text) for question in job.questions),
        digest=job.digest,
    )


def _chunk(document: dict[str, Any]) -> bytes:
    """A JSON line as a chunk of an HTTP body."""
    line = line_of(document)
    return b"%x\r\n%s\r\n" % (len(line), line)

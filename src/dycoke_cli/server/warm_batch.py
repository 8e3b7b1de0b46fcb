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
from dataclasses import dataclass
from typing import Any

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.registry import restore
from dycoke_cli.errors import DycokeError, error_of
from dycoke_cli.request import Request
from dycoke_cli.runs.jobs import Asked, Job, Video
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.plan import Plan
from dycoke_cli.server.door import Asking, asking, connect, message, received
from dycoke_cli.unicode import display_name, is_valid

END = {"end": True}
"""Behind the last video."""
_AHEAD = 64
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class WarmBatch:
    """What is sent first.

    Args:
        asking: how questions are answered.
        batch_size: see `Plan`.
    """

    asking: Asking
    batch_size: int | None


@dataclass(frozen=True)
class WarmQuestion:
    """See `Asked`."""

    id: str | None
    text: str


@dataclass(frozen=True)
class WarmJob:
    """A video with its questions, see `Job`; the path is a whole one."""

    path: str
    shown: str
    name: str
    digest: str | None
    questions: tuple[WarmQuestion, ...]

    def job(self) -> Job:
        """As the engine takes it."""
        video = Video(self.path, self.shown, self.name)
        return Job(video, tuple(Asked(one.id, one.text) for one in self.questions), self.digest)


def open_batch(
    request: Request, jobs: Sequence[Job], batch_size: int | None, cache: bool
) -> tuple[Plan, WarmEngine] | str:
    """Ask the server that runs to answer a batch.

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
    events = received(connection)
    try:
        reason, plan = _agreed(connection, events, request, jobs, batch_size, cache)
        if plan is not None:
            return plan, WarmEngine(connection, events)
    except (OSError, ValueError) as error:
        if isinstance(error, DycokeError):
            raise
        reason = "it didn't answer"
    _close(connection, events)
    return reason


def _agreed(
    connection: socket.socket,
    events: Generator[dict[str, Any], None, None],
    request: Request,
    jobs: Sequence[Job],
    batch_size: int | None,
    cache: bool,
) -> tuple[str, Plan | None]:
    """The plan; or why there is none."""
    if request.subtitles is not None:
        return "--subtitles is for a model in this command", None
    if not all(is_valid(text) for job in jobs for text in (job.video.path, job.video.shown)):
        return "the name of a file isn't valid UTF-8", None
    sent = WarmBatch(asking(request, cache), batch_size)
    connection.sendall(message({"batch": to_dict(sent)}))
    first = next(events, {})
    if first.get("event") == "error":
        raise error_of(first["code"], first["message"])
    if first.get("event") != "taken":
        return str(first.get("reason", "it ended")), None
    connection.settimeout(None)
    options = {**vars(request), "method": restore(first["method"])}
    return "", Plan(**options, identity=first["identity"], batch_size=batch_size, cache=cache)


class WarmEngine:
    """An engine of `runs.run`: the server answers, as many videos ahead as it likes.

    Args:
        connection: over which it has agreed.
        events: what comes from it.
    """

    def __init__(
        self, connection: socket.socket, events: Generator[dict[str, Any], None, None]
    ) -> None:
        self._connection, self._events = connection, events
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
            for event in self._received():
                if event["event"] == "error":
                    raise error_of(event["code"], event["message"])
                if event["event"] == "done":
                    break
                yield self._outcome(event)
        finally:
            self._over.set()
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            sending.join()
            _close(self._connection, self._events)
        if self._failure is not None:
            raise self._failure

    def _received(self) -> Iterator[dict[str, Any]]:
        with suppress(OSError):
            yield from self._events
        if self._failure is not None:
            raise self._failure
        raise DycokeError(
            "the server ended while it answered; run it again: --out has what was answered"
        )

    def _outcome(self, event: dict[str, Any]) -> Outcome:
        job, left = self._left.pop(event["key"])
        left[0] -= 1
        if not left[0]:
            self._room.release()
        line = event["line"]
        if "error" in line and job.video.path != (whole := os.path.abspath(job.video.path)):
            told = line["error"]["message"].replace(
                display_name(whole), display_name(job.video.path)
            )
            line = {**line, "error": {**line["error"], "message": told}}
        return Outcome(event["key"], line, event["seconds"], event["together"])

    def _send(self, jobs: Iterator[Job], plan: Plan, listener: Listener) -> None:
        """Send the videos as there is room; where the run is to stop, no more of them."""
        try:
            while self._has_room(listener):
                job = next(jobs, None)
                if job is None:
                    self._connection.sendall(message(END))
                    while not (self._over.wait(_LOOK_EVERY_S) or listener.stopping):
                        pass
                    break
                left = [len(job.questions)]
                for asked in job.questions:
                    self._left[plan.key(job, asked)] = job, left
                self._connection.sendall(message(to_dict(_sent(job))))
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
        except OSError as error:
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
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _sent(job: Job) -> WarmJob:
    video = job.video
    return WarmJob(
        os.path.abspath(video.path),
        video.shown,
        video.name,
        job.digest,
        tuple(WarmQuestion(asked.id, asked.text) for asked in job.questions),
    )


def _close(connection: socket.socket, events: Generator[dict[str, Any], None, None]) -> None:
    events.close()
    connection.close()

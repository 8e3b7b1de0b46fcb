"""Runs what is connected to a Ray cluster in a process of its own.

Ray ends such a process, without an exception, when Ray's process on this machine (the raylet) ends.
The run survives that: it says what happened, or goes on while the cluster has other nodes here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, suppress
from types import FrameType
from typing import Any, TypeVar

from dycoke_cli.errors import DycokeError
from dycoke_cli.processes.worker import HUNG_UP, Worker, wait
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.retries import RECONNECT_S
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.ray.cluster import NoClusterError, broken

T = TypeVar("T")

Answers = Callable[
    [Mapping[int, T], Any, Listener], Iterator[tuple[Collection[int], Collection[Outcome]]]
]
"""Answers jobs by a plan; gives the numbers of those that are done, with their outcomes."""

_POLL_S = 0.5
_END_S = 10.0
_PAUSE_S = 3.0


def drive(
    answer: Answers[T], jobs: Mapping[int, T], plan: Any, listener: Listener, *, again: bool
) -> Iterator[Outcome]:
    """Answer jobs in another process, and in one more if that ends."""
    left, lost_at = dict(jobs), None
    while left:
        try:
            for numbers, outcomes in _driven(answer, left, plan, listener):
                lost_at = None
                left = {number: job for number, job in left.items() if number not in numbers}
                yield from outcomes
            return
        except GoneError as gone:
            now = time.monotonic()
            if not again or listener.stopping or (lost_at and now - lost_at > RECONNECT_S):
                raise DycokeError(
                    "the Ray cluster broke down: its process on this machine ended, and the run "
                    f"with it (exit code {gone.exit_code}); run it again"
                ) from gone
            if lost_at is None:
                lost_at = now
                listener.note("Ray's process on this machine ended: going on with another node")
        except NoClusterError as error:
            if lost_at is None:
                raise
            raise DycokeError(f"the Ray cluster broke down: {error}; run it again") from error
        except DycokeError:
            if lost_at is None or time.monotonic() - lost_at > RECONNECT_S:
                raise
        time.sleep(_PAUSE_S)


def _driven(
    answer: Answers[T], jobs: Mapping[int, T], plan: Any, listener: Listener
) -> Iterator[tuple[Collection[int], Collection[Outcome]]]:
    """Answer in a process, as far as it gets."""
    process = Worker(_serve, answer, jobs, plan)
    is_stopping = False
    try:
        while True:
            if listener.stopping and not is_stopping:
                process.send("stop")
                is_stopping = True
            if not wait([process], _POLL_S):
                continue
            kind, *given = process.receive()
            if kind == "done":
                return
            if kind == "failed":
                raise given[0]
            if kind == "stage":
                listener.stage(*given)
            else:
                listener.ready = True
                yield given[0], given[1]
    finally:
        # It leaves the cluster first: one that it has started ends with it.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        until = time.monotonic() + _END_S
        with suppress(GoneError):
            while (left_s := until - time.monotonic()) > 0 and wait([process], left_s):
                process.receive()
        process.stop()


class _Relayed(Listener):
    """The listener of the process: what it receives goes to the run."""

    def __init__(self, pipe: Any) -> None:
        super().__init__()
        self._pipe = pipe
        threading.Thread(target=self._listen, daemon=True).start()

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        self._pipe.send(("stage", stage, done, total))

    def _listen(self) -> None:
        with suppress(*HUNG_UP, OSError):
            self._pipe.recv()
            self.stopping = True


def _serve(pipe: Any, answer: Answers[T], jobs: Mapping[int, T], plan: Any) -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        with closing(answer(jobs, plan, _Relayed(pipe))) as answers:  # type: ignore[type-var]
            for numbers, outcomes in answers:
                pipe.send(("answers", numbers, outcomes))
    except Exception as error:
        pipe.send(("failed", broken(error)))
    else:
        pipe.send(("done",))


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(0)

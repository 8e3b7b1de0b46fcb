"""Processes that answer, each with the model: on a CPU several small ones are faster than one.

Each asks for a video when it has none that waits, and sends what came of it. The videos are read
ahead by the process that began the run.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from enum import Enum
from multiprocessing.connection import Connection

from dycoke_cli import plugins
from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.processes import HUNG_UP, GoneError, Worker, start_preloading, wait
from dycoke_cli.resources import usable_cpus
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.read_ahead import PATIENCE_S, Read, ReadAhead

_POLL_S = 0.05


class _Word(Enum):
    """What is sent beside videos and outcomes."""

    WANTS = "a worker has nothing to do"
    NONE_YET = "no video came in the time that a worker waits"
    END = "nothing more will come"


def start_importing() -> None:
    """Import the engine for all workers, in a process of its own; doesn't wait for it."""
    start_preloading(_preloaded())


def _preloaded() -> tuple[str, ...]:
    """The module that imports the engine; none where plug-ins would be imported with it.

    Strangers' code may start threads or ask for a GPU as it is imported, which no fork survives.
    """
    return () if plugins.offered() else ("dycoke_cli.runs.preloaded",)


def answers_of_workers(ahead: ReadAhead, plan: Plan, listener: Listener) -> Iterator[Outcome]:
    """Answer all questions about videos as they are read, in `plan.workers` processes.

    Raises:
        DycokeError: what keeps a worker from answering, or that it died.
    """
    import torch

    threads = max(1, min(torch.get_num_threads(), usable_cpus()) // plan.workers)
    started: list[Worker] = []
    try:
        for _ in range(plan.workers):
            started.append(Worker(_serve, plan, threads, preload=_preloaded()))
        yield from _outcomes(ahead, started, listener)
    except GoneError as gone:
        raise _explained(gone) from gone
    finally:
        for worker in started:
            worker.stop()


def _outcomes(ahead: ReadAhead, workers: list[Worker], listener: Listener) -> Iterator[Outcome]:
    at_work = set(workers)
    idle: dict[Worker, float] = {}  # since when
    while at_work:
        _hand_out(ahead, idle, listener)
        busy = at_work - idle.keys()
        if not busy:
            time.sleep(_POLL_S)
        for worker in wait(busy, _POLL_S) if busy else ():
            message = worker.receive()
            if isinstance(message, BaseException):
                raise message
            listener.ready = True
            if isinstance(message, list):
                yield from message
            if message is _Word.END or listener.stopping:
                at_work.remove(worker)
            elif message is _Word.WANTS:
                idle[worker] = time.monotonic()
        if listener.stopping:
            at_work -= idle.keys()


def _hand_out(ahead: ReadAhead, idle: dict[Worker, float], listener: Listener) -> None:
    """Give each worker that has nothing to do a video, or word that there is none."""
    for worker, since in list(idle.items()):
        if listener.stopping:
            return
        message: Read | _Word | None = ahead.take(0.0)
        if message is None and ahead.ended:
            message = _Word.END
        elif message is None and time.monotonic() - since > PATIENCE_S:
            message = _Word.NONE_YET
        if message is None:
            return
        del idle[worker]
        worker.send(message)


class _Sent:
    """In a worker: the videos that it is sent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ended = False

    def take(self, timeout_s: float) -> Read | None:
        """The next video, as of every `Videos`; how long it waits is known at the other end."""
        if self.ended:
            return None
        self._connection.send(_Word.WANTS)
        message = self._connection.recv()
        self.ended = message is _Word.END
        return None if isinstance(message, _Word) else message


def _serve(connection: Connection, plan: Plan, threads: int) -> None:
    # Only here: the process that hands out the videos does without the engine.
    import torch

    from dycoke_cli.models.quiet import silence_libraries
    from dycoke_cli.runs.answering import answer_all, load_answerer

    torch.set_num_threads(threads)
    silence_libraries()
    try:
        answerer = load_answerer(plan)
        for outcomes in answer_all(_Sent(connection), answerer, Listener()):
            connection.send(outcomes)
        connection.send(_Word.END)
    except HUNG_UP:
        raise
    except Exception as error:
        error.add_note(traceback.format_exc())
        connection.send(error)


def _explained(gone: GoneError) -> DycokeError:
    if gone.killed:
        return OutOfMemoryError(
            "a worker was killed, most likely because memory ran out; use fewer --workers and "
            "run it again: it resumes"
        )
    return DycokeError(
        f"a worker ended with exit code {gone.exit_code}; run it again with --workers 1 to see why"
    )

"""Several processes that answer, each with the model: on a CPU they are faster than one.

The process that began the run decodes the videos ahead. A worker requests a video when it has none
waiting, and sends its answers back. If a worker dies, the others go on, and the questions that it
had are asked again at the end, one at a time.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from multiprocessing.connection import Connection

from dycoke_cli import plugins
from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.processes.pipe_worker import (
    HUNG_UP,
    GoneError,
    Worker,
    start_preloading,
    wait,
)
from dycoke_cli.resources import usable_cpus
from dycoke_cli.runs.jobs import Job, JobQuestion
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome, failed
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.read_ahead import BATCH_WAIT_S, DecodedJob, ReadAhead
from dycoke_cli.unicode import display_name

_POLL_S = 0.05


class _Word(Enum):
    """Control messages between workers and this process."""

    WANTS = "a worker has nothing to do"
    NONE_YET = "no video came in the time that a worker waits"
    END = "nothing more will come"


def start_importing() -> None:
    """Import the engine for all workers, in a process of its own; doesn't wait for it."""
    start_preloading(_preloaded())


def _preloaded() -> tuple[str, ...]:
    """The module that imports the engine, for the fork server; none if plug-ins are installed.

    Third-party code may start threads or initialize a GPU when it is imported, and neither survives
    a fork.
    """
    return () if plugins.offered() else ("dycoke_cli.runs.preloaded",)


@dataclass(frozen=True)
class _Lost:
    """A question whose worker died before answering it."""

    job: Job
    question: JobQuestion
    gone: GoneError

    @property
    def alone(self) -> Job:
        """Its video with this question only."""
        return replace(self.job, questions=(self.question,))


def answers_of_workers(ahead: ReadAhead, plan: Plan, listener: Listener) -> Iterator[Outcome]:
    """Answer all questions about videos as they are decoded, in `plan.workers` processes.

    Raises:
        DycokeError: a worker can't answer anything, or all died before requesting a video.
    """
    lost: list[_Lost] = []
    yield from _answers(ahead, plan, listener, lost)
    if listener.stopping or not lost:
        return
    # With a single worker, which has all memory, and one question at a time: a question that kills
    # its worker again fails alone, and the ones beside it are answered.
    alone, jobs = replace(plan, workers=1, batch_size=1), [one.alone for one in lost]
    lost_again: list[_Lost] = []
    with ReadAhead(jobs, plan.sampling, plan.limits, 1) as again:
        yield from _answers(again, alone, listener, lost_again)
    for one in lost_again:
        yield failed(one.job, one.question, plan, _deadly(one))


def _answers(
    ahead: ReadAhead, plan: Plan, listener: Listener, lost: list[_Lost]
) -> Iterator[Outcome]:
    """What workers answer; `lost` gets the questions of those that died."""
    pool = _Pool(plan, listener, lost)
    try:
        pool.start(plan.workers)
        while pool.at_work or not (ahead.ended or listener.stopping):
            if not pool.at_work:  # all have died, and videos are left
                pool.start(1)
            yield from pool.outcomes(ahead)
    except GoneError as gone:
        raise _unusable(gone) from gone
    finally:
        pool.stop()


class _Pool:
    """Workers, and the questions that each has.

    Args:
        plan: of the run.
        listener: receives a warning for each worker that dies.
        lost: list to which their questions are added.

    Attributes:
        at_work: workers that may still request videos, with their open questions by key.
    """

    def __init__(self, plan: Plan, listener: Listener, lost: list[_Lost]) -> None:
        import torch

        self._plan, self._listener, self._lost = plan, listener, lost
        # More threads than cores make each worker slower.
        self._threads = max(1, min(torch.get_num_threads(), usable_cpus()) // plan.workers)
        self._started: list[Worker] = []
        self._idle: dict[Worker, float] = {}  # since when
        self._used: set[Worker] = set()
        self._all_are_asked = False
        self.at_work: dict[Worker, dict[str, tuple[Job, JobQuestion]]] = {}

    def start(self, count: int) -> None:
        """Start more workers."""
        for _ in range(count):
            worker = Worker(_serve, self._plan, self._threads, preload=_preloaded())
            self._started.append(worker)
            self.at_work[worker] = {}

    def stop(self) -> None:
        """Stop all workers."""
        for worker in self._started:
            worker.stop()

    def outcomes(self, ahead: ReadAhead) -> Iterator[Outcome]:
        """Outcomes that arrive in the next moment.

        Raises:
            GoneError: the last worker died before requesting a video.
            DycokeError: a worker can't answer anything.
        """
        self._hand_out(ahead)
        busy = self.at_work.keys() - self._idle.keys()
        if not busy:  # all wait for the decoders
            time.sleep(_POLL_S)
        for worker in wait(busy, _POLL_S) if busy else ():
            try:
                message = worker.receive()
            except GoneError as gone:
                self._lose(worker, gone)
                continue
            if isinstance(message, BaseException):
                raise message
            self._listener.ready = True
            if isinstance(message, list):
                for outcome in message:
                    self.at_work[worker].pop(outcome.key, None)
                yield from message
            if message is _Word.END or self._listener.stopping:
                del self.at_work[worker]
            elif message is _Word.WANTS:
                self._idle[worker] = time.monotonic()
        if self._listener.stopping:
            for worker in self._idle:
                self.at_work.pop(worker, None)

    def _hand_out(self, ahead: ReadAhead) -> None:
        """Send each idle worker a video, or the message that there is none."""
        for worker, since in list(self._idle.items()):
            if self._listener.stopping:
                return
            message: DecodedJob | _Word | None = ahead.take(0.0)
            if message is None and ahead.ended:
                message = _Word.END
                self._all_are_asked = True
            # It may have a partial batch to answer meanwhile, see `answer_all`.
            elif message is None and time.monotonic() - since > BATCH_WAIT_S:
                message = _Word.NONE_YET
            if message is None:
                return
            del self._idle[worker]
            if isinstance(message, DecodedJob):
                self._used.add(worker)
                job = message.job
                questions = {self._plan.key(job, one): (job, one) for one in job.questions}
                self.at_work[worker].update(questions)
            try:
                worker.send(message)
            except GoneError as gone:
                self._lose(worker, gone)

    def _lose(self, worker: Worker, gone: GoneError) -> None:
        left = self.at_work.pop(worker)
        if not (self.at_work or worker in self._used or self._all_are_asked):
            raise gone  # it died while loading the model, and so would the next one
        self._lost += [_Lost(job, question, gone) for job, question in left.values()]
        self._listener.warning(f"{_ended(gone)}; the run continues without it")


class _Sent:
    """The videos that a worker receives (in the worker's process; see `Videos`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ended = False

    def take(self, timeout_s: float) -> DecodedJob | None:
        """The next video. The other end decides how long to wait: it knows if any will come."""
        if self.ended:
            return None
        self._connection.send(_Word.WANTS)
        message = self._connection.recv()
        self.ended = message is _Word.END
        return None if isinstance(message, _Word) else message


def _serve(connection: Connection, plan: Plan, threads: int) -> None:
    # Imported here: the process that sends the videos doesn't need the engine.
    import torch

    from dycoke_cli.runs.answering import answer_all, load_answerer
    from dycoke_cli.stock.quiet import silence_libraries

    torch.set_num_threads(threads)
    silence_libraries()
    try:
        answerer = load_answerer(plan)
        for outcomes in answer_all(_Sent(connection), answerer, Listener()):
            connection.send(outcomes)
        connection.send(_Word.END)
    except HUNG_UP:  # the run has ended: there is nobody to send the error to
        raise
    except Exception as error:
        error.add_note(traceback.format_exc())
        connection.send(error)


def _ended(gone: GoneError) -> str:
    if gone.killed:
        return "a worker was killed, most likely because memory ran out"
    return f"a worker ended with exit code {gone.exit_code}"


def _unusable(gone: GoneError) -> DycokeError:
    if gone.killed:
        return OutOfMemoryError(f"{_ended(gone)}; use fewer --workers and run it again: it resumes")
    return DycokeError(f"{_ended(gone)}; run it again with --workers 1 to see why")


def _deadly(lost: _Lost) -> DycokeError:
    name = display_name(lost.job.video.shown)
    if lost.gone.killed:
        return OutOfMemoryError(
            f"the worker that had {name} was killed twice, most likely because memory ran out; "
            "use fewer --frames or a smaller --model"
        )
    return DycokeError(
        f"{name} ended the worker that had it twice (exit code {lost.gone.exit_code}); run it "
        "again with --workers 1 to see why"
    )

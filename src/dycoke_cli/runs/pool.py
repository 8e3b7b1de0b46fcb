"""Several processes that answer, each with the model: on a CPU they are faster than one.

This process hands questions out, and receives their last events. Each worker has an engine of its
own, which reads the videos. If a worker dies, the others go on, and the questions that it had are
asked again at the end, one at a time.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue

from dycoke_cli import plugins
from dycoke_cli.answer.answer import Error
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.engine.explaining import explain
from dycoke_cli.errors import DycokeError, OutOfMemoryError, error_of
from dycoke_cli.loop.asker import Asker, Client, Pending, cancel
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.processes.worker import HUNG_UP, Worker, start_preloading, wait
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.resources import usable_cpus
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.parts import answers_of
from dycoke_cli.unicode import display_name

_POLL_S = 0.05
# Questions that a worker has at once: a batch that is answered, and one whose videos are read.
_AHEAD = 16
LOADED = "the model is loaded"
"""Sent by a worker."""
STOP = "only the answers under way are still wanted"
"""Sent to a worker."""
Message = list[tuple[int, Ask]] | str | Exception | None
"""Questions about a video with their numbers; `STOP`, None if no more will come, or an error."""


def start_importing() -> None:
    """Import the engine for all workers, in a process of its own; doesn't wait for it."""
    start_preloading(_preloaded())


def _preloaded() -> tuple[str, ...]:
    """The module that imports the engine, for the zygote; none if plug-ins are installed.

    Third-party code may start threads or initialize a GPU when it is imported, and neither survives
    a fork.
    """
    return () if plugins.offered() else ("dycoke_cli.loop.answer_batch",)


@dataclass(eq=False)
class AtWork:
    """A worker with the questions that it has, by number."""

    worker: Worker
    asks: dict[int, Pending] = field(default_factory=dict)
    is_loaded: bool = False  # whether it has loaded the model; before, it gets none
    told: str | None = ""  # of its end: nothing yet, `STOP`, or None


class WorkerPool(Asker):
    """Has worker processes answer a run: one client, whose questions about a video stay together.

    Args:
        warn: receives sentences about workers that died.
    """

    elsewhere, searches = "a pool of workers", True

    def __init__(self, plan: RunPlan, warn: Callable[[str], None]) -> None:
        super().__init__()
        self._plan, self._warn, self._ahead = plan, warn, _AHEAD
        self._at_work: list[AtWork] = []
        self._client = Client(bulk=True)
        self._lost: list[Pending] = []  # what workers had that died
        self._asked_again: set[Pending] = set()
        self._is_stopped = self._has_loaded = False
        self._died_idle = 0  # workers in a row that died without a question

    def _carry(self, pendings: Sequence[Pending], **_: object) -> None:
        self._client = pendings[0].client

    def begin_run(self) -> None:
        """See `Asker.begin_run`: wait until a worker has loaded the model."""
        self._start(self._plan.workers)
        while not self._has_loaded:
            self.advance()

    def advance(self) -> None:
        """See `Asker.advance`: hand questions out, and receive their last events."""
        if not self._at_work:  # all have ended, and questions are left
            if self._lost and self._client.is_over and not self._waiting:
                self._ask_again()
            self._start(1)
        self._hand_out()
        self._receive()

    def leave(self, client: Client) -> None:
        """See `Asker.leave`; workers finish the answers under way."""
        super().leave(client)
        self._is_stopped = True
        cancel(self._lost)
        self._lost = []

    def close(self) -> None:
        """See `Asker.close`."""
        for one in self._at_work:
            one.worker.stop()

    def _start(self, count: int) -> None:
        threads = _threads(self._plan.workers)
        try:
            for _ in range(count):
                worker = Worker(_serve, self._plan, threads, preload=_preloaded())
                self._at_work.append(AtWork(worker))
        except GoneError as gone:
            raise _unusable(gone) from gone

    def _ask_again(self) -> None:
        """Ask what dead workers had: of a worker that has all memory, and one at a time.

        So a question that kills its worker again fails alone, and the ones beside it are answered.
        """
        self._plan, self._ahead = replace(self._plan, workers=1, batch_size=1), 1
        self._asked_again.update(self._lost)
        with self._changed:
            self._waiting += self._lost
        self._lost = []

    def _hand_out(self) -> None:
        """Send questions to the workers that have the fewest."""
        for one in sorted(self._at_work, key=lambda one: len(one.asks)):
            is_over = self._client.is_over  # before it is looked whether any wait
            group: list[Pending] = []
            with self._changed:
                if self._waiting and one.is_loaded and len(one.asks) < self._ahead:
                    group = self._next()
                    taken = {*group}
                    self._waiting = [left for left in self._waiting if left not in taken]
                is_over = is_over and not self._waiting
            message: Message = [(pending.number, pending.ask) for pending in group]
            if group:
                one.asks |= {pending.number: pending for pending in group}
            elif is_over and one.told != (STOP if self._is_stopped else None):
                message = one.told = STOP if self._is_stopped else None
            else:
                continue
            with suppress(GoneError):  # `_receive` finds that, behind the events that it has sent
                one.worker.send(message)

    def _next(self) -> list[Pending]:
        """The questions that a worker gets next: those about one video, unless asked again."""
        first = self._waiting[0]
        if first in self._asked_again:
            return [first]
        about = first.ask.videos, first.ask.request.sampling
        return [p for p in self._waiting if (p.ask.videos, p.ask.request.sampling) == about]

    def _receive(self) -> None:
        by_worker = {one.worker: one for one in self._at_work}
        for worker in wait(by_worker, _POLL_S):
            one = by_worker[worker]
            try:
                message = worker.receive()
            except GoneError as gone:
                self._lose(one, gone)
                continue
            if isinstance(message, BaseException):
                raise message  # it can't answer anything
            self._has_loaded = one.is_loaded = True
            if message is None:  # it has answered everything that was still wanted
                self._end(one)
                cancel(one.asks.values())
            elif message != LOADED:
                number, event = message
                self._died_idle = 0
                one.asks.pop(number).send(event)

    def _end(self, one: AtWork) -> None:
        self._at_work.remove(one)
        one.worker.stop()

    def _lose(self, one: AtWork, gone: GoneError) -> None:
        self._end(one)
        self._died_idle = 0 if one.asks else self._died_idle + 1
        most = MAX_ATTEMPTS if self._has_loaded else 1
        if not self._at_work and one.told == "" and self._died_idle >= most:
            raise _unusable(gone) from gone  # it died while it loaded, and so would the next one
        for pending in one.asks.values():
            if pending in self._asked_again:
                pending.fail(_deadly(pending.ask, gone))
            else:
                self._lost.append(pending)
        if self._is_stopped:
            self.leave(self._client)
        self._warn(f"{_ended(gone)}; the run continues without it")


def _threads(workers: int) -> int:
    """Threads of each worker. Together they have as many as one process: more are slower."""
    import torch

    return max(1, min(torch.get_num_threads(), usable_cpus()) // workers)


def _serve(connection: Connection, plan: RunPlan, threads: int) -> None:
    # Here, since the process that hands questions out needs no engine; a failure ends this one.
    import dycoke_cli.loop.answer_batch  # noqa: F401

    listener, messages = Listener(), SimpleQueue[Message]()
    threading.Thread(target=_read, args=(connection, messages, listener), daemon=True).start()
    try:
        with engine_of_worker(plan, threads) as engine:
            engine.begin_run()
            connection.send(LOADED)
            for number, event in answers_of_numbered(engine, messages.get, listener):
                connection.send((number, event))
        connection.send(None)
    except HUNG_UP:  # the run has ended: there is nobody to send the error to
        raise
    except Exception as error:
        error.add_note(traceback.format_exc())
        connection.send(error)


def _read(connection: Connection, messages: SimpleQueue[Message], listener: Listener) -> None:
    """Receive while questions are answered: `STOP` may come when all have been handed out."""
    try:
        while not listener.stopping:
            messages.put(message := connection.recv())
            listener.stopping = message == STOP
    except Exception as error:  # raised where the message is waited for
        messages.put(error)


def engine_of_worker(plan: RunPlan, threads: int) -> Engine:
    """The engine of a worker, which uses this number of threads for arithmetic."""
    import torch

    from dycoke_cli.stock.quiet import silence_libraries

    torch.set_num_threads(threads)
    silence_libraries()
    return plan.engine(max(1, threads - 1))


def answers_of_numbered(
    asker: Asker, receive: Callable[[], Message], listener: Listener
) -> Iterator[tuple[int, Answered | Failed]]:
    """Answer questions that another process numbers and sends; gives their last events."""
    numbers = dict[str | None, int]()

    def groups() -> Iterator[Sequence[Ask]]:
        while isinstance(message := receive(), list):
            numbers.update({ask.key: number for number, ask in message})
            yield [ask for _, ask in message]
        if isinstance(message, Exception):
            raise message

    for ask, event in answers_of(asker, groups(), listener):
        yield numbers.pop(ask.key), _sendable(event)


def _sendable(event: Answered | Failed) -> Answered | Failed:
    """The event with an error that can be unpickled, whatever the arguments of its class."""
    if isinstance(event, Answered):
        return event
    error = Error.of(explain(event.error))
    return Failed(error_of(error.code, error.message))


def _ended(gone: GoneError) -> str:
    if gone.killed:
        return "a worker was killed, most likely because memory ran out"
    return f"a worker ended with exit code {gone.exit_code}"


def _unusable(gone: GoneError) -> DycokeError:
    if gone.killed:
        return OutOfMemoryError(f"{_ended(gone)}; use fewer --workers and run it again: it resumes")
    return DycokeError(f"{_ended(gone)}; run it again with --workers 1 to see why")


def _deadly(ask: Ask, gone: GoneError) -> DycokeError:
    name = display_name(ask.videos[0].name)
    if gone.killed:
        return OutOfMemoryError(
            f"the worker that had {name} was killed twice, most likely because memory ran out; "
            "use fewer frames or a smaller --model"
        )
    return DycokeError(
        f"{name} ended the worker that had it twice (exit code {gone.exit_code}); run it "
        "again with --workers 1 to see why"
    )

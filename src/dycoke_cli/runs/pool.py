"""Several processes that answer, each with the model: on a CPU they are faster than one.

The process that began the run hands questions out, and receives their outcomes. Each worker has an
engine of its own, which reads the videos. If a worker dies, the others go on, and the questions
that it had are asked again at the end, one at a time.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

from dycoke_cli import plugins
from dycoke_cli.ask import Ask, Failed
from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.processes.worker import HUNG_UP, Worker, start_preloading, wait
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.resources import usable_cpus
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.when import answers_of
from dycoke_cli.unicode import display_name

_POLL_S = 0.05
# Questions that a worker has at once: a batch that is answered, and one whose videos are read.
_AHEAD = 16
_LOADED = "the model is loaded"
_STOP = "only the answers under way are still wanted"
Group = Sequence[Ask]


def start_importing() -> None:
    """Import the engine for all workers, in a process of its own; doesn't wait for it."""
    start_preloading(_preloaded())


def _preloaded() -> tuple[str, ...]:
    """The module that imports the engine, for the zygote; none if plug-ins are installed.

    Third-party code may start threads or initialize a GPU when it is imported, and neither survives
    a fork.
    """
    return () if plugins.offered() else ("dycoke_cli.runs.preloaded",)


def answers_of_workers(
    groups: Iterable[Group], plan: RunPlan, listener: Listener
) -> Iterator[Outcome]:
    """Answer all questions in `plan.workers` processes."""
    lost: list[tuple[Ask, GoneError]] = []
    yield from _Pool(plan, listener, lost).outcomes(groups)
    if listener.stopping or not lost:
        return
    # With a single worker, which has all memory, and one question at a time: a question that kills
    # its worker again fails alone, and the ones beside it are answered.
    alone, again = replace(plan, workers=1, batch_size=1), [(ask,) for ask, _ in lost]
    lost_again: list[tuple[Ask, GoneError]] = []
    yield from _Pool(alone, listener, lost_again, ahead=1).outcomes(again)
    for ask, gone in lost_again:
        yield Outcome.of(ask, Failed(_deadly(ask, gone)))


@dataclass(eq=False)
class _AtWork:
    """A worker with the questions that it has, by key."""

    worker: Worker
    asks: dict[str, Ask] = field(default_factory=dict)
    is_loaded: bool = False  # whether it has loaded the model; before, it gets none
    is_told: bool = False  # whether it knows that no more will come


class _Pool:
    """Workers, and the questions that each has.

    Args:
        ahead: questions that a worker has at once, unless one video has more.
    """

    def __init__(
        self,
        plan: RunPlan,
        listener: Listener,
        lost: list[tuple[Ask, GoneError]],
        ahead: int = _AHEAD,
    ) -> None:
        import torch

        self._plan, self._listener, self._lost, self._ahead = plan, listener, lost, ahead
        # Together, workers have as many threads as one process: more make each worker slower.
        self._threads = max(1, min(torch.get_num_threads(), usable_cpus()) // plan.workers)
        self._at_work: list[_AtWork] = []
        self._has_loaded = False
        self._died_idle = 0  # workers in a row that died without a question

    def outcomes(self, groups: Iterable[Group]) -> Iterator[Outcome]:
        """Outcomes of all questions, but for those of workers that died."""
        drawn = _Drawn(groups)
        try:
            self._start(self._plan.workers)
            while self._at_work or not (drawn.is_over or self._listener.stopping):
                if not self._at_work:  # all have died, and questions are left
                    self._start(1)
                self._hand_out(drawn)
                yield from self._receive()
        except GoneError as gone:
            raise _unusable(gone) from gone
        finally:
            drawn.stop()
            for one in self._at_work:
                one.worker.stop()

    def _start(self, count: int) -> None:
        for _ in range(count):
            worker = Worker(_serve, self._plan, self._threads, preload=_preloaded())
            self._at_work.append(_AtWork(worker))

    def _hand_out(self, drawn: _Drawn) -> None:
        """Send questions to the workers that have the fewest."""
        stopping = self._listener.stopping
        for one in sorted(self._at_work, key=lambda one: len(one.asks)):
            message: Group | str | None = None
            has_room = one.is_loaded and len(one.asks) < self._ahead
            if one.is_told:
                continue
            if stopping or drawn.is_over:
                message, one.is_told = _STOP if stopping else None, True
            elif has_room and (message := drawn.take()) is not None:
                one.asks |= {ask.key: ask for ask in message if ask.key is not None}
            else:
                continue
            with suppress(GoneError):  # `_receive` finds that, behind the outcomes that it has sent
                one.worker.send(message)

    def _receive(self) -> Iterator[Outcome]:
        by_worker = {one.worker: one for one in self._at_work}
        for worker in wait(by_worker, _POLL_S):
            one = by_worker[worker]
            try:
                message = worker.receive()
            except GoneError as gone:
                self._lose(one, gone)
                continue
            if isinstance(message, BaseException):
                raise message
            self._listener.ready = self._has_loaded = one.is_loaded = True
            if isinstance(message, Outcome):
                self._died_idle = 0
                del one.asks[message.key]
                yield message
            elif message is None:  # it has answered everything
                self._at_work.remove(one)
                worker.stop()

    def _lose(self, one: _AtWork, gone: GoneError) -> None:
        self._at_work.remove(one)
        one.worker.stop()
        self._died_idle = 0 if one.asks else self._died_idle + 1
        most = MAX_ATTEMPTS if self._has_loaded else 1
        if not self._at_work and not one.is_told and self._died_idle >= most:
            raise gone  # it died while loading the model, and so would the next one
        self._lost += [(ask, gone) for ask in one.asks.values()]
        self._listener.warning(f"{_ended(gone)}; the run continues without it")


class _Drawn:
    """Questions that are drawn in a thread: drawing hashes files, and workers don't wait for it."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._drawn: queue.Queue[Group] = queue.Queue(maxsize=4)
        self._failure: BaseException | None = None
        self._ended, self._stopped = threading.Event(), threading.Event()
        threading.Thread(target=self._draw, args=(groups,), daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        over = self._ended.is_set() and self._drawn.empty()
        if over and self._failure is not None:
            raise self._failure
        return over

    def take(self) -> Group | None:
        """The next questions; None if there are none yet."""
        try:
            return self._drawn.get_nowait()
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Draw no more. The thread isn't joined: it may be in a long read."""
        self._stopped.set()

    def _draw(self, groups: Iterable[Group]) -> None:
        try:
            for group in groups:
                while not self._stopped.is_set():
                    try:
                        self._drawn.put(group, timeout=_POLL_S)
                        break
                    except queue.Full:
                        continue
                if self._stopped.is_set():
                    return
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()


def _serve(connection: Connection, plan: RunPlan, threads: int) -> None:
    # Imported here: the process that hands the questions out doesn't need the engine.
    import torch

    import dycoke_cli.loop.answer_batch  # noqa: F401 (what can't be imported ends the process)
    from dycoke_cli.stock.quiet import silence_libraries

    torch.set_num_threads(threads)
    silence_libraries()
    listener = Listener()

    def groups() -> Iterator[Group]:
        while isinstance(message := connection.recv(), (tuple, list)):
            yield message
        listener.stopping = message == _STOP

    try:
        with plan.engine(max(1, threads - 1)) as engine:
            engine.begin_run()
            connection.send(_LOADED)
            for ask, event in answers_of(engine, groups(), listener):
                connection.send(Outcome.of(ask, event))
        connection.send(None)
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


def _deadly(ask: Ask, gone: GoneError) -> DycokeError:
    name = display_name(ask.videos[0].name)
    if gone.killed:
        return OutOfMemoryError(
            f"the worker that had {name} was killed twice, most likely because memory ran out; "
            "use fewer --frames or a smaller --model"
        )
    return DycokeError(
        f"{name} ended the worker that had it twice (exit code {gone.exit_code}); run it "
        "again with --workers 1 to see why"
    )

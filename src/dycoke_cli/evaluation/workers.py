"""Shares the videos among processes: several small models answer faster than one on all cores.

Each worker loads the model once, asks for a job when it has none, and sends each answer as it
comes. A pipe a worker: when one end's process dies, the other end notices.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.evaluation.asking import Job, Question, ask_all
from dycoke_cli.evaluation.dataset import Dataset
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.models.loading import load
from dycoke_cli.models.quiet import silence_libraries


@dataclass(frozen=True)
class Task:
    """What a worker needs to begin.

    Args:
        dataset: the benchmark.
        model: its name, as given.
        device: where it runs, as given.
        dtype: as given.
        threads: for arithmetic, in each worker.
    """

    dataset: Dataset
    model: str
    device: str
    dtype: str
    threads: int


def answers_here(task: Task, jobs: list[Job]) -> Generator[tuple[Question, Prediction]]:
    """Answer all jobs in this process."""
    loaded = load(task.model, task.device, task.dtype)
    for job in jobs:
        yield from ask_all(loaded, task.dataset, job)


def answers_of_workers(
    task: Task, jobs: list[Job], workers: int
) -> Generator[tuple[Question, Prediction]]:
    """Answer all jobs in processes; they end when the iterator is closed.

    Raises:
        DycokeError: what went wrong in a worker, or that it died.
    """
    waiting = deque(jobs)
    started: list[tuple[Connection, SpawnProcess]] = []
    try:
        started += [_start(task) for _ in range(workers)]
        at_work: dict[Any, SpawnProcess] = dict(started)
        while at_work:
            for connection in wait(list(at_work)):
                assert isinstance(connection, Connection)
                message = _receive(connection, at_work[connection])
                if isinstance(message, BaseException):
                    raise message
                if message is not None:
                    yield message
                elif waiting:
                    connection.send(waiting.popleft())
                else:
                    del at_work[connection]
    finally:
        for connection, process in started:
            connection.close()
            process.terminate()
            process.join()


def _start(task: Task) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, task), daemon=True)
    # Ctrl-C reaches every process of a terminal; this one alone shall deal with it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return ours, process


def _receive(connection: Connection, process: SpawnProcess) -> Any:
    """None for "a job, please", an answer, or what went wrong."""
    try:
        return connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        if process.exitcode == -signal.SIGKILL:
            return OutOfMemoryError(
                "a worker was killed, most likely because memory ran out; use fewer --workers and "
                "run it again: it goes on from there"
            )
        return DycokeError(
            f"a worker ended with exit code {process.exitcode}; run it again with --workers 1 to "
            "see why"
        )


def _serve(connection: Connection, task: Task) -> None:
    import torch

    torch.set_num_threads(task.threads)
    silence_libraries()
    try:
        loaded = load(task.model, task.device, task.dtype)
        while True:
            connection.send(None)
            for answer in ask_all(loaded, task.dataset, connection.recv()):
                connection.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # nobody waits for answers any more
    except Exception as error:
        error.add_note(traceback.format_exc())
        connection.send(error)

"""Shares the videos among processes: several small models answer faster than one on all cores.

Each worker loads the model once, asks for a job when it has none, and sends each answer as it
comes.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Generator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.evaluation.asking import Job, Question, ask_all
from dycoke_cli.evaluation.dataset import Dataset
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.models.load import load
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.quiet import silence_libraries
from dycoke_cli.processes import HUNG_UP, GoneError, Worker, wait


@dataclass(frozen=True)
class Task:
    """What a worker needs to begin.

    Args:
        dataset: the benchmark.
        model: its name, as given.
        loading: how it is loaded.
        threads: for arithmetic, in each worker.
    """

    dataset: Dataset
    model: str
    loading: LoadOptions
    threads: int


def answers_here(task: Task, jobs: list[Job]) -> Generator[tuple[Question, Prediction]]:
    """Answer all jobs in this process."""
    loaded = load(task.model, **asdict(task.loading))
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
    started: list[Worker] = []
    try:
        started += [Worker(_serve, task) for _ in range(workers)]
        at_work = set(started)
        while at_work:
            for worker in wait(at_work):
                message = worker.receive()
                if isinstance(message, BaseException):
                    raise message
                if message is not None:
                    yield message
                elif waiting:
                    worker.send(waiting.popleft())
                else:
                    at_work.remove(worker)
    except GoneError as gone:
        raise _explained(gone) from gone
    finally:
        for worker in started:
            worker.stop()


def _explained(gone: GoneError) -> DycokeError:
    if gone.killed:
        return OutOfMemoryError(
            "a worker was killed, most likely because memory ran out; use fewer --workers and "
            "run it again: it goes on from there"
        )
    return DycokeError(
        f"a worker ended with exit code {gone.exit_code}; run it again with --workers 1 to see why"
    )


def _serve(connection: Connection, task: Task) -> None:
    import torch

    torch.set_num_threads(task.threads)
    silence_libraries()
    try:
        loaded = load(task.model, **asdict(task.loading))
        while True:
            connection.send(None)
            for answer in ask_all(loaded, task.dataset, connection.recv()):
                connection.send(answer)
    except HUNG_UP:
        raise
    except Exception as error:
        error.add_note(traceback.format_exc())
        connection.send(error)

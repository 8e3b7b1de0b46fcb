"""The server's half of a warm batch: videos are read here, and the engine's thread is asked.

Between two batches of questions the engine answers others, so that nobody waits for all of it.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import from_dict
from dycoke_cli.compression.registry import described
from dycoke_cli.models.explaining import explain
from dycoke_cli.request import Request
from dycoke_cli.runs.answering import Answerer, answer_all
from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.plan import Plan, plan_of
from dycoke_cli.runs.read_ahead import Read, ReadAhead
from dycoke_cli.server.door import message
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.warm_batch import END, WarmJob

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel


class _InTurns(Answerer):
    """An answerer whose model is asked in the engine's thread."""

    def __init__(self, loaded: LoadedModel, plan: Plan, engine: EngineThread) -> None:
        super().__init__(loaded, plan)
        self._engine = engine

    def add(self, read: Read) -> list[Outcome]:
        """See `Answerer.add`."""
        return self._engine.call(lambda _: super(_InTurns, self).add(read))

    def answer(self) -> list[Outcome]:
        """See `Answerer.answer`."""
        return self._engine.call(lambda _: super(_InTurns, self).answer())


def hold_batch(
    connection: socket.socket,
    messages: Iterator[dict[str, Any]],
    request: Request,
    batch_size: int | None,
    cache: bool,
    engine: EngineThread,
) -> None:
    """Answer the videos that come.

    Args:
        connection: to the command.
        messages: what comes from it.
        request: how questions are answered.
        batch_size: see `Plan`.
        cache: likewise.
        engine: with the model.

    Raises:
        OSError: the command has gone.
    """
    from dycoke_cli.models.resolve import choose

    try:
        plan = plan_of(
            request, choose(request.model, request.loading), batch_size=batch_size, cache=cache
        )
        answerer = engine.call(lambda loaded: _InTurns(loaded, plan, engine))
    except Exception as error:
        reason = explain(error)
        connection.sendall(message({"event": "error", "code": reason.code, "message": str(reason)}))
        return
    about = {"method": described(plan.method), "identity": plan.identity}
    connection.sendall(message({"event": "taken", **about}))
    connection.settimeout(None)
    jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    listener = Listener()
    threading.Thread(target=_receive, args=(messages, jobs, listener), daemon=True).start()
    with engine.held(), ReadAhead(iter(jobs.get, None), plan.sampling, plan.limits) as ahead:
        try:
            for outcomes in answer_all(ahead, answerer, listener):
                for outcome in outcomes:
                    connection.sendall(message({"event": "outcome", **vars(outcome)}))
        finally:
            jobs.put(None)  # else its threads would wait for another one
    connection.sendall(message({"event": "done"}))


def _receive(
    messages: Iterator[dict[str, Any]], jobs: queue.SimpleQueue[Job | None], listener: Listener
) -> None:
    """Put the videos that come into the queue; one that ends before its end stops the run."""
    try:
        for sent in messages:
            if sent == END:
                jobs.put(None)
            else:
                jobs.put(from_dict(WarmJob, sent).job())
    except (OSError, ValueError, KeyError):
        pass
    # The command has stopped, or has gone: what is under way is the last.
    listener.stopping = True
    jobs.put(None)

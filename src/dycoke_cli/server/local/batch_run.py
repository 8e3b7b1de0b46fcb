"""A batch in the server: videos are decoded here, and the engine's thread answers.

Other requests are answered between two batches of questions, so that nobody waits for the whole
run.
"""

from __future__ import annotations

import queue
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_reader import from_dict
from dycoke_cli.compression.registry import described
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.plan import Plan, plan_of
from dycoke_cli.models.resolve import choose
from dycoke_cli.request import Request
from dycoke_cli.runs.answering import Answerer, answer_all
from dycoke_cli.runs.jobs import Job, JobQuestion, Video
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.read_ahead import DecodedJob, ReadAhead
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.local.event_stream import EventStream
from dycoke_cli.server.local.wire import END, STOP, Batch, BatchJob
from dycoke_cli.server.refused import Refused

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel


class BatchRun:
    """One batch of a command.

    Args:
        batch: how the videos are asked about.
        request: its request, see `matched`.
        engine: has the model.
    """

    def __init__(self, batch: Batch, request: Request, engine: EngineThread) -> None:
        self._batch, self._request, self._engine = batch, request, engine
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._listener = Listener()

    async def take_videos(self, lines: AsyncIterator[Any], stream: EventStream) -> None:
        """Queue the videos as they arrive.

        When the lines end, by `STOP` or because the command has ended, the batch ends after the
        answers under way.
        """
        try:
            async for sent in lines:
                if sent == STOP:
                    break
                self._jobs.put(None if sent == END else _job(sent))
        except (Refused, ValueError, KeyError):
            stream.fail(UsageError("a line of the batch isn't a video with its questions"))
        finally:  # whatever ends the lines: the engine waits for another video
            self._listener.stopping = True
            self._jobs.put(None)

    def answer(self, stream: EventStream) -> None:
        """Answer the videos as they arrive.

        Raises:
            ClientGoneError: the command has ended.
            DycokeError: the request is invalid.
        """
        request, batch, engine = self._request, self._batch, self._engine
        # The server's dtype: another would be chosen by the memory that is free beside its model.
        loading = request.loading.with_dtype(engine.call(lambda loaded: loaded.model.dtype))
        plan = plan_of(
            request,
            choose(request.model, loading),
            batch_size=batch.batch_size,
            cache=batch.setup.cache is not None,
        )
        answerer = engine.call(lambda loaded: _InTurns(loaded, plan, engine))
        stream.send("plan", method=described(plan.method), identity=plan.identity)
        videos = iter(self._jobs.get, None)
        # Without `occupied` the model could be unloaded while the first videos are decoded.
        ahead = ReadAhead(videos, plan.sampling, plan.limits, fit=engine.fit)
        with engine.occupied(), ahead:
            try:
                for outcomes in answer_all(ahead, answerer, self._listener):
                    for outcome in outcomes:
                        stream.send("outcome", **vars(outcome))
            finally:
                self._jobs.put(None)  # releases the decoder threads, which wait for another video
        stream.send("done")


def _job(sent: Any) -> Job:
    line: BatchJob = from_dict(BatchJob, sent)
    video = Video(line.path, line.shown, line.name)
    return Job(video, tuple(JobQuestion(*one) for one in line.questions), line.digest)


class _InTurns(Answerer):
    """An answerer that runs the model in the engine's thread, in turns with other requests."""

    def __init__(self, loaded: LoadedModel, plan: Plan, engine: EngineThread) -> None:
        super().__init__(loaded, plan)
        self._engine = engine

    def add(self, read: DecodedJob) -> list[Outcome]:
        """See `Answerer.add`."""
        return self._engine.call(lambda _: super(_InTurns, self).add(read))

    def answer(self) -> list[Outcome]:
        """See `Answerer.answer`."""
        return self._engine.call(lambda _: super(_InTurns, self).answer())

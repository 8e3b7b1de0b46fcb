"""The engine of `--server` for many jobs: decodes here, with a few requests in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from dycoke_cli.answer.answer import Answer
from dycoke_cli.errors import DycokeError, ModelError
from dycoke_cli.loop.plan import Plan
from dycoke_cli.runs.jobs import Job, JobQuestion
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome, all_failed, answered, failed
from dycoke_cli.runs.read_ahead import InWindows, ReadAhead
from dycoke_cli.runs.remote.remote_client import ServerGoneError
from dycoke_cli.runs.remote.sent_video import NO_VIDEO, SentVideo
from dycoke_cli.runs.remote.served_model import ServedModel

_POLL_S = 0.2


@dataclass(frozen=True)
class RemoteEngine:
    """Answers jobs with a model on a server (`runs.run.Engine`)."""

    model: ServedModel

    def __call__(self, jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
        """Answer all questions of all jobs.

        Raises:
            ModelError: the server can't be reached, or refuses the key or the model.
        """
        model, concurrency = self.model, self.model.server.concurrency
        waiting: deque[tuple[Job, JobQuestion, SentVideo]] = deque()
        asking: dict[Future[Answer], tuple[Job, JobQuestion]] = {}
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="request")
        try:
            with ReadAhead(jobs, plan.sampling, plan.limits) as ahead:
                listener.ready = True
                while True:
                    # No more videos are taken than can be asked about: their JPEGs take memory.
                    while not listener.stopping and len(waiting) + len(asking) < concurrency:
                        # While requests are in flight, `wait` below is the pause of this loop.
                        read = ahead.take(0 if asking or waiting else _POLL_S)
                        if read is None:
                            break
                        if isinstance(read.clip, DycokeError):
                            yield from all_failed(read.job, plan, read.clip)
                            continue
                        assert not isinstance(read.clip, InWindows), "nor asked for"
                        video = NO_VIDEO
                        if read.clip is not None:
                            video = model.send(read.clip, read.seconds)
                        waiting += [(read.job, question, video) for question in read.job.questions]
                    if listener.stopping:
                        waiting.clear()  # requests in flight are finished
                    while waiting and len(asking) < concurrency:
                        job, question, video = waiting.popleft()
                        named = model.server.names_method
                        method = question.method or plan.method if named else None
                        future = pool.submit(model.ask, question, video, method, plan.generation)
                        asking[future] = job, question
                    if not asking and (listener.stopping or ahead.ended):
                        return
                    for future in wait(asking, _POLL_S, FIRST_COMPLETED).done:
                        yield _outcome(*asking.pop(future), plan, future)
        finally:
            model.client.close()  # ends requests in flight, for which the threads would wait
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(job: Job, question: JobQuestion, plan: Plan, future: Future[Answer]) -> Outcome:
    error = future.exception()
    if isinstance(error, ServerGoneError):
        raise ServerGoneError(f"{error}; the same command then resumes")
    if isinstance(error, ModelError):  # every other request would fail as well
        raise error
    if error is not None:
        return failed(job, question, plan, error)
    answer = future.result()
    request = answer.seconds.request
    assert isinstance(request, float), "it is a server's answer"
    return replace(answered(job, question, plan, answer), seconds=request)

"""The engine of `--server` for many jobs: frames are read here, a few requests are in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from dycoke_cli.answer.remote import RemoteAnswer
from dycoke_cli.errors import DycokeError, ModelError
from dycoke_cli.runs.jobs import Asked, Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome, all_failed, answered, failed
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.read_ahead import ReadAhead
from dycoke_cli.runs.remote.remote_client import ServerGoneError
from dycoke_cli.runs.remote.sent_video import NO_VIDEO, SentVideo
from dycoke_cli.runs.remote.served_model import ServedModel

_POLL_S = 0.2


@dataclass(frozen=True)
class RemoteEngine:
    """Answers jobs by a model on a server (`runs.run.Engine`)."""

    model: ServedModel

    def __call__(self, jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
        """Answer all questions of all jobs.

        Raises:
            ModelError: the server can't be reached, or refuses the key or the model.
        """
        model, at_once = self.model, self.model.server.at_once
        waiting: deque[tuple[Job, Asked, SentVideo]] = deque()
        asking: dict[Future[RemoteAnswer], tuple[Job, Asked]] = {}
        pool = ThreadPoolExecutor(at_once, thread_name_prefix="request")
        try:
            with ReadAhead(jobs, plan.sampling, plan.limits) as ahead:
                listener.ready = True
                while True:
                    while not listener.stopping and len(waiting) + len(asking) < at_once:
                        read = ahead.take(0 if asking or waiting else _POLL_S)
                        if read is None:
                            break
                        if isinstance(read.clip, DycokeError):
                            yield from all_failed(read.job, plan, read.clip)
                            continue
                        video = NO_VIDEO
                        if read.clip is not None:
                            video = model.send(read.clip, read.seconds)
                        waiting += [(read.job, asked, video) for asked in read.job.questions]
                    if listener.stopping:
                        waiting.clear()
                    while waiting and len(asking) < at_once:
                        job, asked, video = waiting.popleft()
                        named = model.server.names_method
                        method = asked.method or plan.method if named else None
                        future = pool.submit(model.ask, asked, video, method, plan.generation)
                        asking[future] = job, asked
                    if not asking and (listener.stopping or ahead.ended):
                        return
                    for future in wait(asking, _POLL_S, FIRST_COMPLETED).done:
                        yield _outcome(*asking.pop(future), plan, future)
        finally:
            model.client.close()  # what is in flight ends, too
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(job: Job, asked: Asked, plan: Plan, future: Future[RemoteAnswer]) -> Outcome:
    error = future.exception()
    if isinstance(error, ServerGoneError):
        raise ServerGoneError(f"{error}; the same command then resumes")
    if isinstance(error, ModelError):
        raise error
    if error is not None:
        return failed(job, asked, plan, error)
    answer = future.result()
    return replace(answered(job, asked, plan, answer), seconds=answer.seconds.request)

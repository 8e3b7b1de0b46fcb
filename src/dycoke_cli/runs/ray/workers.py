"""The engine that answers on a Ray cluster: its workers hold the model, and are sent videos.

Ray Data spreads the videos, and starts again what has died; `attempts` sees to it that a video
which ends its worker is tried three times. Whatever a worker has answered comes here, and is
written by the run, so that any engine resumes it.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.ray.attempts import Attempts
from dycoke_cli.runs.ray.cluster import Workers, connected, need_ray, room, silence_data
from dycoke_cli.runs.ray.transfer import Sender

if TYPE_CHECKING:
    from dycoke_cli.runs.worker import MakeAnswerSlice

# Videos that a worker is sent at once: enough to be answered together and read ahead, few enough
# to be lost with it. Each worker has several turns, so that all of them end at about one time.
_SLICE = 8
_SLICE_ON_GPU = 32
_TURNS = 4
# One that is worked on, and one that waits there.
_SLICES_OF_WORKER = 2
_POLL_S = 0.5
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class OnRay:
    """The engine, as it was chosen.

    Args:
        address: of the cluster, as of `cluster.connected`.
        cpus: that a worker reserves.
        gpus: likewise; None: one, where there are any.
        ship: send the videos to the workers, which can't open their paths.
        make: makes what answers, in a worker; None: `worker.load_slices`.

    Raises:
        UsageError: a number out of range, or Ray isn't installed.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float | None = None
    ship: bool = False
    make: MakeAnswerSlice | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cpus < float("inf"):
            raise UsageError(f"--num-cpus-per-worker must be above 0, not {self.cpus:g}")
        if self.gpus is not None and not 0 <= self.gpus < float("inf"):
            raise UsageError(f"--num-gpus-per-worker must be 0 or more, not {self.gpus:g}")
        need_ray()

    def __call__(self, jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
        """Answer all questions of all jobs.

        Raises:
            DycokeError: there is no cluster, the model can't be loaded on it, or it broke down.
        """
        given = dict(enumerate(jobs))
        if not given:
            return
        listener.stage("load")
        with connected(self.address):
            workers = room(self.cpus, self.gpus, plan.loading.device, plan.model_bytes or 0)
            attempts = _here(Attempts)
            replies = _Replies(self._dataset(given, _for_workers(plan, workers), workers, attempts))
            yield from _outcomes(given, plan, replies, attempts, listener)

    def _dataset(self, jobs: dict[int, Job], plan: Plan, workers: Workers, attempts: Any) -> Any:
        import ray.data

        from dycoke_cli.runs.worker import RayWorker, Slice, Task, load_slices

        silence_data()
        folder = os.getcwd()
        sender = _here(Sender, _files(jobs.values(), folder)) if self.ship else None
        task = Task(plan, workers.threads, self.make or load_slices, attempts, sender)
        together = plan.batch_size or (_SLICE_ON_GPU if workers.gpus else _SLICE)
        together = max(1, min(together, len(jobs) // (_TURNS * workers.count)))
        numbers = list(jobs)
        slices = [
            Slice({number: jobs[number] for number in numbers[i : i + together]}, folder)
            for i in range(0, len(numbers), together)
        ]
        rows = [{"slice": pickle.dumps(part)} for part in slices]
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            RayWorker,  # a class is welcome, too
            fn_constructor_args=(task,),
            compute=ray.data.ActorPoolStrategy(
                size=min(workers.count, len(rows)), max_tasks_in_flight_per_actor=_SLICES_OF_WORKER
            ),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            memory=workers.memory,
        )


class _Replies:
    """Replies as they come; they are drawn in a thread, so that waiting for them can end."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> Any:
        """The next reply; None where none came in that time.

        Raises:
            DycokeError: no more will come.
        """
        try:
            reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(reply, DycokeError):
            raise reply
        return reply

    def end(self) -> None:
        """Draw no more, and let Ray Data end in its own way if that doesn't take long."""
        self._ended = True
        self._thread.join(_PATIENCE_S)

    def _draw(self) -> None:
        try:
            # Each reply at once: a reply that waits for the next is lost if this process dies.
            for batch in self._dataset.iter_batches(batch_size=None, prefetch_batches=0):
                for reply in batch["reply"]:
                    self._replies.put(pickle.loads(reply))
                if self._ended:
                    return
            self._replies.put(DycokeError("Ray has ended with videos left; run it again"))
        except BaseException as error:
            self._replies.put(_broken(error))


def _outcomes(
    jobs: dict[int, Job], plan: Plan, replies: _Replies, attempts: Any, listener: Listener
) -> Iterator[Outcome]:
    """Outcomes until all jobs have theirs; when the run is to end, those that were begun."""
    import ray

    left = dict(jobs)
    stopped = False
    while left:
        if listener.stopping and not stopped:
            begun = ray.get(attempts.stop.remote())
            left = {number: left[number] for number in begun if number in left}
            stopped = True
            continue
        reply = replies.take(_POLL_S)
        if reply is None:
            continue
        if reply.failure is not None:
            replies.end()
            raise reply.failure
        listener.ready = True
        # A slice whose worker died just after it had answered may come twice.
        fresh = [left.pop(number) for number in reply.videos if number in left]
        keys = {plan.key(job, asked) for job in fresh for asked in job.questions}
        yield from (outcome for outcome in reply.outcomes if outcome.key in keys)
    replies.end()


def _for_workers(plan: Plan, workers: Workers) -> Plan:
    """The same, for other machines."""
    loading = plan.loading
    if workers.gpus == 0 and loading.device == "auto" and loading.device_map is None:
        # A worker sees the GPUs of its machine, and may use none that it hasn't reserved.
        loading = replace(loading, device="cpu")
    model = os.path.abspath(plan.model) if os.path.isdir(plan.model) else plan.model
    return replace(plan, loading=loading, model=model)


def _files(jobs: Iterable[Job], folder: str) -> set[str]:
    """The files that a run reads, by the names that workers have for them."""
    paths = {job.video.path for job in jobs}
    paths |= {job.subtitles.path for job in jobs if job.subtitles and job.subtitles.path}
    return {os.path.join(folder, path) for path in paths}


def _here(kind: type, *arguments: Any) -> Any:
    """An actor on this machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(kind).options(num_cpus=0, scheduling_strategy=strategy).remote(*arguments)


def _broken(error: BaseException) -> DycokeError:
    if isinstance(error, DycokeError):
        return error
    said = " ".join(str(error).split())[-300:]
    return DycokeError(f"the Ray cluster broke down ({type(error).__name__}: {said}); run it again")

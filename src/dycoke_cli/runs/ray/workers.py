"""The engine that answers on a Ray cluster: workers load the model and receive videos.

Ray Data distributes the videos and restarts dead workers; `attempts` limits how often a video that
crashes its worker is tried. All answers come here and are written by the run, so that any engine
can resume it.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.ray.attempts import Attempts
from dycoke_cli.runs.ray.cluster import (
    Workers,
    broken,
    connected,
    fit_workers,
    need_ray,
    silence_data,
)
from dycoke_cli.runs.ray.driver import drive
from dycoke_cli.runs.ray.transfer import Sender
from dycoke_cli.runs.run import Group

if TYPE_CHECKING:
    from dycoke_cli.runs.worker import MakeAnswerSlice

# Videos that a worker receives at once: enough for a batch and for decoding ahead, few enough to
# lose with it. Each worker gets several slices, so that all workers end at about the same time.
_SLICE = 8
_SLICE_ON_GPU = 32
_TURNS = 4
# One that is worked on, and one that waits on the worker's machine.
_SLICES_OF_WORKER = 2
_POLL_S = 0.5
_END_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class OnRay:
    """Options of the Ray engine, and the engine itself (`runs.run.Backend`)."""

    address: str | None = None  # of the cluster, as of `cluster.connected`
    cpus: float = 1.0  # that a worker reserves
    gpus: float | None = None  # that a worker reserves; None is one if the cluster has any
    ship: bool = False  # send the videos to the workers, because they can't open their paths
    # makes the function that answers, in a worker; None is `worker.load_slices`
    make: MakeAnswerSlice | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cpus < float("inf"):
            raise UsageError(f"--num-cpus-per-worker must be above 0, not {self.cpus:g}")
        if self.gpus is not None and not 0 <= self.gpus < float("inf"):
            raise UsageError(f"--num-gpus-per-worker must be 0 or more, not {self.gpus:g}")
        need_ray()

    def __call__(
        self, groups: Iterable[Group], plan: RunPlan, listener: Listener
    ) -> Iterator[Outcome]:
        """Answer all questions."""
        numbered = dict(enumerate(groups))  # messages to the actors have numbers
        listener.stage("load")
        # A cluster of this command has this machine alone.
        return drive(self._answer, numbered, plan, listener, again=self.address is not None)

    def _answer(
        self, groups: Mapping[int, Group], plan: RunPlan, listener: Listener
    ) -> Iterator[tuple[list[int], list[Outcome]]]:
        """Answer questions in the process that is connected to the cluster; see `drive`."""
        with connected(self.address):
            workers = fit_workers(
                self.cpus, self.gpus, plan.request.loading.device, plan.model_bytes or 0
            )
            attempts = _actor_here(Attempts, workers.count)
            numbered = {n: _for_workers(group, workers) for n, group in groups.items()}
            there = replace(plan, request=_request_of_workers(plan.request, workers))
            dataset = self._dataset(numbered, there, workers, attempts)
            yield from _outcomes(numbered, _Replies(dataset), attempts, listener)

    def _dataset(
        self, groups: dict[int, Group], plan: RunPlan, workers: Workers, attempts: Any
    ) -> Any:
        import ray.data

        from dycoke_cli.runs.worker import RayWorker, Slice, WorkerSettings, load_slices

        silence_data()
        folder = os.getcwd()
        sender = _actor_here(Sender, _files(groups.values(), folder)) if self.ship else None
        task = WorkerSettings(plan, workers.threads, self.make or load_slices, attempts, sender)
        together = plan.batch_size or (_SLICE_ON_GPU if workers.gpus else _SLICE)
        together = max(1, min(together, len(groups) // (_TURNS * workers.count)))
        numbers = list(groups)
        slices = [
            Slice({number: groups[number] for number in numbers[i : i + together]}, folder)
            for i in range(0, len(numbers), together)
        ]
        # Pickled here: as Python objects, Ray Data would turn them into Arrow columns.
        rows = [{"slice": pickle.dumps(part)} for part in slices]
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            RayWorker,  # a class: one instance per actor, so that the model is loaded once
            fn_constructor_args=(task,),
            compute=ray.data.ActorPoolStrategy(
                size=min(workers.count, len(rows)), max_tasks_in_flight_per_actor=_SLICES_OF_WORKER
            ),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            memory=workers.memory,
        )


class _Replies:
    """Replies as they arrive. A thread draws them, because Ray Data's iterator has no timeout."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> Any:
        """The next reply; None if none arrived in that time."""
        try:
            reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(reply, DycokeError):
            raise reply
        return reply

    def end(self) -> None:
        """Draw no more. Ray Data may end on its own, if that doesn't take long."""
        self._ended = True
        self._thread.join(_END_TIMEOUT_S)

    def _draw(self) -> None:
        try:
            # No prefetching: a reply that waits for the next one is lost if this process dies.
            for batch in self._dataset.iter_batches(batch_size=None, prefetch_batches=0):
                for reply in batch["reply"]:
                    self._replies.put(pickle.loads(reply))
                if self._ended:
                    return
            self._replies.put(DycokeError("Ray has ended with videos left; run it again"))
        except BaseException as error:
            self._replies.put(broken(error))


def _outcomes(
    groups: dict[int, Group], replies: _Replies, attempts: Any, listener: Listener
) -> Iterator[tuple[list[int], list[Outcome]]]:
    """Numbers and outcomes of all groups; once the run is to end, of those that were begun."""
    import ray

    left = dict(groups)
    stopped = False
    while left:
        if listener.stopping and not stopped:
            # Asked of the actor: only it knows which slices have reached a worker.
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
        # A slice whose worker died just after it had answered may arrive twice.
        fresh = {number: left.pop(number) for number in reply.videos if number in left}
        keys = {ask.key for group in fresh.values() for ask in group}
        yield [*fresh], [outcome for outcome in reply.outcomes if outcome.key in keys]
    replies.end()


def _for_workers(group: Group, workers: Workers) -> Group:
    return [replace(ask, request=_request_of_workers(ask.request, workers)) for ask in group]


def _request_of_workers(request: Request, workers: Workers) -> Request:
    """A request for processes on other machines, with another working directory."""
    loading = request.loading
    if workers.gpus == 0 and loading.device == "auto" and loading.device_map is None:
        # "auto" would find the GPUs of the worker's machine, and it has reserved none.
        loading = replace(loading, device="cpu")
    model = os.path.abspath(request.model) if os.path.isdir(request.model) else request.model
    return replace(request, loading=loading, model=model)


def _files(groups: Iterable[Group], folder: str) -> set[str]:
    """The files that a run reads, by the paths that workers request."""
    videos = [video for group in groups for video in group[0].videos]
    paths = {video.source for video in videos if isinstance(video.source, str)}
    paths |= {video.subtitles.path for video in videos if video.subtitles and video.subtitles.path}
    return {os.path.join(folder, path) for path in paths}


def _actor_here(kind: type, *arguments: Any) -> Any:
    """An actor on this machine, which has the files and outlives every worker."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(kind).options(num_cpus=0, scheduling_strategy=strategy).remote(*arguments)

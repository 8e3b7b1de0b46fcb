"""The process that is connected to a Ray cluster: it hands questions to workers there.

Ray places the workers, each an actor with the model, and says which has ended. The videos that such
a worker had are answered one by one by others, at most `MAX_ATTEMPTS` times. All events go to the
run, so that any engine can resume it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, groupby
from types import FrameType
from typing import Any

from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.errors import DycokeError, ModelError, OutOfMemoryError, VideoError
from dycoke_cli.loop.asker import Asker, renamed
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.explaining import explain
from dycoke_cli.processes.worker import HUNG_UP
from dycoke_cli.request import Request
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.runs.pool import LOADED, STOP, answers_of_numbered
from dycoke_cli.runs.ray.cluster import OnRay, Workers, broken, connected, fit_workers
from dycoke_cli.runs.ray.transfer import Sender, received
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__

# Videos that a worker receives at once: enough for a batch and for decoding ahead, few enough to
# lose with it. Each worker gets several slices, so that all workers end at about the same time.
_SLICE = 8
_SLICE_ON_GPU = 32
_TURNS = 4
_POLL_S = 0.2

Numbered = list[tuple[int, Ask]]
"""Questions about one video with their numbers."""


def serve(pipe: Any, options: OnRay, plan: RunPlan) -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        with connected(options.address):
            Driver(pipe, options, plan).run()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # else it could stay half connected
        pipe.send(None)
    except HUNG_UP:
        raise
    except Exception as error:
        pipe.send(broken(error))


def _leave(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


@dataclass
class Job:
    """Questions about one video, and how many workers have ended that had them."""

    asks: Numbered
    lost: int = 0

    @property
    def files(self) -> list[str]:
        """Paths of the files that are read."""
        ask = self.asks[0][1]
        if ask.blind:
            return []
        read = [(one.source, one.subtitles and one.subtitles.path) for one in ask.videos]
        return [path for paths in read for path in paths if isinstance(path, str)]


class Driver:
    """Hands questions to workers, and their events to the run."""

    def __init__(self, pipe: Any, options: OnRay, plan: RunPlan) -> None:
        gpus, memory = options.gpus, plan.model_bytes or 0
        self._workers = fit_workers(options.cpus, gpus, plan.request.loading.device, memory)
        self._pipe, self._options = pipe, options
        self._plan = replace(plan, request=request_of_workers(plan.request, self._workers))
        self._sender: Any = _sender() if options.ship else None
        self._jobs = deque[Job]()
        # Calls under way, with their actor and jobs; while an actor loads the model it has none.
        self._calls: dict[Any, tuple[Any, list[Job]]] = {}
        self._idle: list[Any] = []
        self._lost_loading = 0  # workers in a row that ended while they loaded the model
        self._is_over = False

    def run(self) -> None:
        """Answer what the run sends, until no more is left."""
        while not self._is_over or self._jobs or any(jobs for _, jobs in self._calls.values()):
            while self._pipe.poll(0 if self._calls else _POLL_S):
                self._take(self._pipe.recv())
            self._hand_out()
            self._collect()

    def _take(self, message: Numbered | str | None) -> None:
        if isinstance(message, list):
            each = groupby(message, lambda one: (one[1].videos, one[1].request.sampling))
            self._jobs += [Job([*asks]) for _, asks in each]
            return
        self._is_over = True
        if message == STOP:
            self._jobs.clear()

    def _hand_out(self) -> None:
        import ray

        while self._jobs and self._idle:
            actor, jobs = self._idle.pop(), self._slice()
            asks = [[(n, self._there(ask)) for n, ask in job.asks] for job in jobs]
            folder = os.getcwd()
            if self._sender is not None:
                paths = [os.path.join(folder, path) for job in jobs for path in job.files]
                ray.get(self._sender.add.remote(paths))
            self._calls[actor.answer.remote(asks, folder)] = actor, jobs
        loading = sum(not jobs for _, jobs in self._calls.values())
        count = min(self._workers.count - len(self._calls), len(self._jobs) - loading)
        for _ in range(count):
            kind = ray.remote(RayWorker).options(
                num_cpus=self._workers.cpus,
                num_gpus=self._workers.gpus,
                memory=self._workers.memory or None,
            )
            threads = self._workers.threads
            actor = kind.remote(self._options, self._plan, threads, self._sender, __version__)
            self._calls[actor.load.remote()] = actor, []

    def _slice(self) -> list[Job]:
        """The next jobs of a worker; what a worker had that ended goes alone."""
        most = self._plan.batch_size or (_SLICE_ON_GPU if self._workers.gpus else _SLICE)
        most = min(most, len(self._jobs) // (_TURNS * self._workers.count))
        jobs = [self._jobs.popleft()]
        while len(jobs) < most and not (jobs[0].lost or self._jobs[0].lost):
            jobs.append(self._jobs.popleft())
        return jobs

    def _there(self, ask: Ask) -> Ask:
        return replace(ask, request=request_of_workers(ask.request, self._workers))

    def _collect(self) -> None:
        import ray
        from ray.exceptions import ObjectLostError, RayActorError

        ready, _ = ray.wait([*self._calls], timeout=_POLL_S) if self._calls else ([], [])
        for call in ready:
            actor, jobs = self._calls.pop(call)
            try:
                reply = ray.get(call)
            except (RayActorError, ObjectLostError):
                ray.kill(actor)
                self._lose(jobs)
                continue
            if isinstance(reply, DycokeError):
                raise reply
            self._idle.append(actor)
            if not jobs:
                self._lost_loading = 0
                self._pipe.send(LOADED)
            for answer in reply:
                self._pipe.send(answer)

    def _lose(self, jobs: list[Job]) -> None:
        """Note that a worker ended while it had these jobs, or loaded the model."""
        self._lost_loading += not jobs
        if self._lost_loading >= MAX_ATTEMPTS * self._workers.count:
            raise OutOfMemoryError(
                f"each worker ended {MAX_ATTEMPTS} times while it loaded the model, most likely "
                "because memory ran out; use a larger --num-cpus-per-worker, which makes fewer "
                "workers, and run it again: it resumes"
            )
        for job in jobs:
            job.lost += 1
            if job.lost < MAX_ATTEMPTS:
                self._jobs.append(job)
                continue
            for number, ask in job.asks:
                self._pipe.send((number, Failed(_deadly(ask))))


class RayWorker:
    """An actor with the model."""

    def __init__(
        self, options: OnRay, plan: RunPlan, threads: int, sender: Any, version: str
    ) -> None:
        self._options, self._plan, self._threads = options, plan, threads
        self._sender, self._version = sender, version
        self._asker: Asker | None = None

    def load(self) -> DycokeError | tuple[()]:
        """Load the model. An error is returned, not raised: Ray would wrap it in one of its own."""
        try:
            # The plan is pickled: another version might unpickle it with other defaults.
            if self._version != __version__:
                raise ModelError(
                    f"a worker of the cluster has dycoke {__version__}, and the run was begun with "
                    f"{self._version}; install one version on all machines"
                )
            self._asker = (self._options.make or _engine)(self._plan, self._threads)
        except Exception as error:
            return explain(error)
        return ()

    def answer(
        self, groups: list[Numbered], folder: str
    ) -> DycokeError | list[tuple[int, Answered | Failed]]:
        """Answer questions about a few videos, whose paths are relative to a folder."""
        from ray.exceptions import RayError

        try:
            return [*self._answers(groups, folder)]
        except RayError as error:  # the actor that sends videos is gone
            return broken(error)
        except Exception as error:
            return explain(error)

    def _answers(
        self, groups: list[Numbered], folder: str
    ) -> Iterator[tuple[int, Answered | Failed]]:
        assert self._asker is not None, "`load` is called first"
        copies: dict[str, str] = {}
        names: list[tuple[str, str]] = []  # of files as they are called here and in the run

        def opened(path: str) -> str:
            """The path of a file, or of its copy on this machine."""
            there = os.path.join(folder, path)
            if there not in copies:
                names.append((display_name(there), display_name(path)))
                copies[there] = there
                if self._sender is not None:
                    copies[there] = stack.enter_context(received(there, self._chunk))
                    names.append((display_name(copies[there]), display_name(path)))
            return copies[there]

        here: list[Numbered | None] = []
        failed: list[tuple[int, Answered | Failed]] = []
        with ExitStack() as stack:
            for group in groups:
                try:
                    here.append([(number, _opened(ask, opened)) for number, ask in group])
                except VideoError as error:
                    failed += [(number, Failed(error)) for number, _ in group]
            answers = answers_of_numbered(self._asker, iter([*here, None]).__next__)
            for number, event in chain(failed, answers):
                yield number, renamed(event, names)

    def _chunk(self, path: str, offset: int) -> Any:
        import ray

        return ray.get(self._sender.chunk.remote(path, offset))


def _opened(ask: Ask, opened: Callable[[str], str]) -> Ask:
    """A question about the files that are opened in place of its own."""
    [video] = ask.videos
    if ask.blind or not isinstance(video.source, str):
        return ask
    subtitles = video.subtitles
    if subtitles is not None and subtitles.path is not None:
        subtitles = replace(subtitles, path=opened(subtitles.path))
    return replace(ask, videos=(replace(video, source=opened(video.source), subtitles=subtitles),))


def _engine(plan: RunPlan, threads: int) -> Asker:
    """The engine of a worker, which uses this number of threads for arithmetic."""
    # Imported here: the process that is connected to the cluster doesn't need torch.
    import torch

    from dycoke_cli.stock.quiet import silence_libraries

    torch.set_num_threads(threads)
    silence_libraries()
    engine = plan.engine(max(1, threads - 1))
    engine.load()
    return engine


def _deadly(ask: Ask) -> VideoError:
    return VideoError(
        f"{display_name(ask.videos[0].name)} ended the worker that had it {MAX_ATTEMPTS} "
        "times, for it is damaged or takes too much memory: convert it, use fewer frames, or "
        "leave it out"
    )


def request_of_workers(request: Request, workers: Workers) -> Request:
    """A request for processes on other machines, with another working directory."""
    loading = request.loading
    if workers.gpus == 0 and loading.device == "auto" and loading.device_map is None:
        # "auto" would find the GPUs of the worker's machine, and it has reserved none.
        loading = replace(loading, device="cpu")
    model = os.path.abspath(request.model) if os.path.isdir(request.model) else request.model
    return replace(request, loading=loading, model=model)


def _sender() -> Any:
    """An actor on this machine, which has the files and outlives every worker."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(Sender).options(num_cpus=0, scheduling_strategy=strategy).remote()

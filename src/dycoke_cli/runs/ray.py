"""The process that is connected to a Ray cluster: it hands questions to workers there.

Ray places the workers, each an actor with the model, on whichever machine has room. Another takes
the place of one that ended: Ray's own restarts fail calls meanwhile. The videos that such a worker
had are answered one by one, at most `MAX_ATTEMPTS` times. All events go to the run, so that any
engine can resume it.

Undocumented parts of Ray that are used here, checked on 2.60.0:

- `ray._private.services.canonicalize_bootstrap_address` finds the cluster of "auto". Without it,
  joining a cluster that isn't there takes two minutes.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import groupby
from typing import Any

from dycoke_cli import plugins
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.engine.explaining import DEBUG, explain
from dycoke_cli.errors import (
    DycokeError,
    ModelError,
    OutOfMemoryError,
    UsageError,
    VideoError,
    how_to_install,
)
from dycoke_cli.loop.asker import Asker, Pending
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.processes.worker import HUNG_UP, Worker
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.pool import (
    LOADED,
    STOP,
    AtWork,
    WorkerPool,
    answers_of_numbered,
    engine_of_worker,
)
from dycoke_cli.unicode import display_name
from dycoke_cli.version import __version__

_CONNECT_TIMEOUT_S = 5.0
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise a call that is still under way after `shutdown` would start another cluster.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}


@dataclass(frozen=True)
class OnRay:
    """Options of a run on a cluster."""

    address: str = "auto"  # of the cluster, as of `connected`
    cpus: float = 1.0  # that a worker reserves
    gpus: float | None = None  # that a worker reserves; None is one if the cluster has any
    # makes what answers in a worker, with a number of threads; None is an engine
    make: Callable[[RunPlan, int], Asker] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cpus < float("inf"):
            raise UsageError(f"--num-cpus-per-worker must be above 0, not {self.cpus:g}")
        if self.gpus is not None and not 0 <= self.gpus < float("inf"):
            raise UsageError(f"--num-gpus-per-worker must be 0 or more, not {self.gpus:g}")
        if find_spec("ray") is None:
            raise UsageError(
                f"--engine ray needs Ray: {how_to_install('ray')}; or leave --engine out"
            )


def import_ray() -> Any:
    """Import Ray, which reads these variables meanwhile."""
    os.environ.update(_ENVIRONMENT)
    import ray

    return ray


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect this process to a cluster for the length of the block.

    Args:
        address: "auto" (the cluster that this machine is part of) or HOST:PORT.
    """
    ray = import_ray()
    # Workers don't inherit the environment of this process.
    files = {plugins.ENVIRONMENT: os.pathsep.join(map(str, plugins.files()))}
    options = {"address": _reachable(address), "runtime_env": {"env_vars": files}}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # of several classes, of which some are none of Ray's
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise DycokeError(f"{_not_joined(address)}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _reachable(address: str) -> str:
    """HOST:PORT of a cluster that accepts connections.

    Checked before `ray.init`, which would wait for minutes.
    """
    if "://" in address:
        raise UsageError(
            f"--address {address} is that of a Ray client, which this doesn't work with; run it on "
            "a machine of the cluster, with --address auto"
        )
    from ray._private.services import canonicalize_bootstrap_address

    try:
        resolved = canonicalize_bootstrap_address(address)
    except (ValueError, OSError) as error:
        raise UsageError(f"--address must be auto or HOST:PORT, not {address!r}") from error
    if resolved is None:
        raise DycokeError(f"{_not_joined(address)}: none runs on this machine")
    host, _, port = resolved.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise DycokeError(f"{_not_joined(address)}: nothing answers at {resolved}") from error
    return resolved


def _not_joined(address: str) -> str:
    return (
        f"no Ray cluster can be joined at --address {address} (start one with `ray start --head`)"
    )


def room(options: OnRay, plan: RunPlan) -> tuple[dict[str, float], int]:
    """Resources that a worker reserves, and how many workers the connected cluster may have.

    Ray places the workers; those that no machine has room for begin when one has.
    """
    import ray

    totals, gpus = ray.cluster_resources(), options.gpus
    if gpus is None:
        allowed = plan.request.loading.device not in ("cpu", "mps")
        gpus = 1.0 if allowed and totals.get("GPU", 0) else 0.0
    # On a GPU the model takes hardly any main memory.
    memory = 0 if gpus else plan.model_bytes or 0
    needs = {"CPU": options.cpus, "GPU": gpus, "memory": memory}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= n for name, n in needs.items()) for node in nodes):
        raise UsageError(
            f"no machine of the cluster has {options.cpus:g} CPUs, {gpus:g} GPUs and "
            f"{memory / 1e9:.1f} GB of memory for a worker; lower --num-cpus-per-worker or "
            "--num-gpus-per-worker, or use a smaller --model"
        )
    return needs, min(int(totals[name] / n) for name, n in needs.items() if n)


# Videos that a worker receives at once: enough for a batch and for decoding ahead, few enough to
# lose with it. Each worker gets several slices, so that all workers end at about the same time.
_SLICE = 8
_SLICE_ON_GPU = 32
_TURNS = 4
_POLL_S = 0.2
_LOOK_S = 5.0  # between two looks at whether Ray runs on this machine
_BROKE_DOWN = (
    "the Ray cluster broke down: its process on this machine ended, and the run with it{}; run it "
    "again"
)
# All questions go to the driver at once: it knows how many workers the cluster has room for.
_ALL = 2**63

Numbered = list[tuple[int, Ask]]
"""Questions about one video with their numbers."""


class RayAsker(WorkerPool):
    """Has the workers of a Ray cluster answer a run, by way of a process that is connected to it.

    When Ray's process on this machine (the raylet) ends, Ray ends such a process without an
    exception, or leaves its calls unanswered. The run survives that, and says what happened.
    """

    elsewhere, ahead_videos = "a Ray cluster", _ALL

    def __init__(self, options: OnRay, plan: RunPlan, listener: Listener) -> None:
        super().__init__(plan, listener.warning)
        self._options, self._ahead = options, _ALL
        listener.stage("load")

    def _start(self, count: int) -> None:
        self._at_work.append(AtWork(Worker(serve, self._options, self._plan), is_loaded=True))

    def _next(self) -> list[Pending]:
        return [*self._waiting]

    def _lose(self, one: AtWork, gone: GoneError) -> None:
        raise DycokeError(_BROKE_DOWN.format(f" (exit code {gone.exit_code})")) from gone


def serve(pipe: Any, options: OnRay, plan: RunPlan) -> None:
    """Entry point of the process."""
    if not os.environ.get(DEBUG):  # Ray's processes write to the descriptor, not to `sys.stderr`
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nothing, stream)
    try:
        with connected(options.address):
            Driver(pipe, options, plan).run()
        pipe.send(None)
    except HUNG_UP:
        raise
    except DycokeError as error:
        pipe.send(error)
    except Exception as error:
        # The end of the message: Ray puts the cause after the tracebacks of all processes between.
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"
        pipe.send(DycokeError(f"the Ray cluster broke down ({cause}); run it again"))


@dataclass
class Job:
    """Questions about one video, and how many workers have ended that had them."""

    asks: Numbered
    lost: int = 0


class Driver:
    """Hands questions to workers, and their events to the run."""

    def __init__(self, pipe: Any, options: OnRay, plan: RunPlan) -> None:
        import ray

        needs, self._most = room(options, plan)
        on_gpu = needs["GPU"] > 0
        self._slice_of = plan.batch_size or (_SLICE_ON_GPU if on_gpu else _SLICE)
        self._kind = ray.remote(RayWorker).options(
            num_cpus=needs["CPU"], num_gpus=needs["GPU"], memory=needs["memory"] or None
        )
        loading = plan.request.loading
        if not on_gpu and loading.device == "auto" and loading.device_map is None:
            # "auto" would find the GPUs of the worker's machine, and it has reserved none.
            loading = replace(loading, device="cpu")
        plan = replace(plan, request=replace(plan.request, loading=loading))
        self._given = options, plan, os.getcwd(), __version__
        self._pipe = pipe
        self._jobs = deque[Job]()
        # Calls under way, with their actor and jobs; while an actor loads the model it has none,
        # and beside it stands which attempt that is.
        self._calls: dict[Any, tuple[Any, list[Job], int]] = {}
        self._idle: list[Any] = []
        self._is_over = False
        self._node, self._looked_s = ray.get_runtime_context().get_node_id(), time.monotonic()

    def run(self) -> None:
        """Answer what the run sends, until no more is left."""
        while not self._is_over or self._jobs or any(jobs for _, jobs, _ in self._calls.values()):
            while self._pipe.poll(0 if self._calls else _POLL_S):
                self._take(self._pipe.recv())
            self._hand_out()
            self._collect()
            self._check_node()

    def _check_node(self) -> None:
        """End the run if Ray has ended on this machine: no worker answers, and none begins."""
        import ray

        if time.monotonic() - self._looked_s > _LOOK_S:
            self._looked_s = time.monotonic()
            if self._node not in {one["NodeID"] for one in ray.nodes() if one["Alive"]}:
                raise DycokeError(_BROKE_DOWN.format(""))

    def _take(self, message: Numbered | str | None) -> None:
        if isinstance(message, list):
            each = groupby(message, lambda one: (one[1].videos, one[1].request.sampling))
            self._jobs += [Job([*asks]) for _, asks in each]
            return
        self._is_over = True
        if message == STOP:
            self._jobs.clear()

    def _hand_out(self) -> None:
        while self._jobs and self._idle:
            actor, jobs = self._idle.pop(), self._slice()
            call = actor.answer.remote([question for job in jobs for question in job.asks])
            self._calls[call] = actor, jobs, 0
        loading = sum(not jobs for _, jobs, _ in self._calls.values())
        for _ in range(min(self._most - len(self._calls), len(self._jobs) - loading)):
            self._load(1)

    def _slice(self) -> list[Job]:
        """The next jobs of a worker; what a worker had that ended goes alone."""
        most = min(self._slice_of, len(self._jobs) // (_TURNS * self._most))
        jobs = [self._jobs.popleft()]
        while len(jobs) < most and not (jobs[0].lost or self._jobs[0].lost):
            jobs.append(self._jobs.popleft())
        return jobs

    def _load(self, attempt: int) -> None:
        """Have a worker load the model before it gets any video, which would be blamed for it."""
        actor = self._kind.remote(*self._given)
        self._calls[actor.load.remote()] = actor, [], attempt

    def _collect(self) -> None:
        import ray
        from ray.exceptions import ObjectLostError, RayActorError

        ready, _ = ray.wait([*self._calls], timeout=_POLL_S) if self._calls else ([], [])
        for call in ready:
            actor, jobs, attempt = self._calls.pop(call)
            try:
                reply = ray.get(call)
            except (RayActorError, ObjectLostError) as error:
                ray.kill(actor)  # it may only be out of reach
                self._lose(jobs, attempt, error)
                continue
            if isinstance(reply, DycokeError):
                raise reply
            self._idle.append(actor)
            if not jobs:
                self._pipe.send(LOADED)
            for answer in reply:
                self._pipe.send(answer)

    def _lose(self, jobs: list[Job], attempt: int, error: Exception) -> None:
        """Note that a worker ended while it had these jobs, or loaded the model."""
        if not jobs and attempt < MAX_ATTEMPTS:
            self._load(attempt + 1)
        elif not jobs:
            raise OutOfMemoryError(
                f"a worker ended {MAX_ATTEMPTS} times while it loaded the model, most likely "
                "because memory ran out; use a larger --num-cpus-per-worker, which makes fewer "
                "workers, and run it again: it resumes"
            ) from error
        for job in jobs:
            job.lost += 1
            if job.lost < MAX_ATTEMPTS:
                self._jobs.append(job)
                continue
            for number, ask in job.asks:
                self._pipe.send((number, Failed(_deadly(ask))))


class RayWorker:
    """An actor with the model."""

    def __init__(self, options: OnRay, plan: RunPlan, folder: str, version: str) -> None:
        self._options, self._plan, self._version = options, plan, version
        self._asker: Asker | None = None
        with suppress(OSError):  # where it isn't, neither are the videos, and each says so
            os.chdir(folder)

    def load(self) -> DycokeError | tuple[()]:
        """Load the model. An error is returned, not raised: Ray would wrap it in one of its own."""
        try:
            # The plan is pickled: another version might unpickle it with other defaults.
            if self._version != __version__:
                raise ModelError(
                    f"a worker of the cluster has dycoke {__version__}, and the run was begun with "
                    f"{self._version}; install one version on all machines"
                )
            threads = max(1, int(self._options.cpus))
            self._asker = (self._options.make or engine_of_worker)(self._plan, threads)
            self._asker.begin_run()
        except Exception as error:
            return explain(error)
        return ()

    def answer(self, asks: Numbered) -> DycokeError | list[tuple[int, Answered | Failed]]:
        """Answer questions about a few videos."""
        assert self._asker is not None, "`load` is called first"
        try:
            return [*answers_of_numbered(self._asker, iter([asks, None]).__next__, Listener())]
        except Exception as error:
            return explain(error)


def _deadly(ask: Ask) -> VideoError:
    return VideoError(
        f"{display_name(ask.videos[0].name)} ended the worker that had it {MAX_ATTEMPTS} "
        "times, for it is damaged or takes too much memory: convert it, use fewer frames, or "
        "leave it out"
    )

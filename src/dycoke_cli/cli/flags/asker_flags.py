"""Flags of who answers: a server, workers of this machine or a Ray cluster; and the batch size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of
from dycoke_cli.stock.quiet import faster_imports, silence_libraries

if TYPE_CHECKING:
    from dycoke_cli.cli.render.view import View
    from dycoke_cli.compression.method import Method
    from dycoke_cli.loop.asker import Asker
    from dycoke_cli.loop.plan import RunPlan
    from dycoke_cli.request import Request
    from dycoke_cli.runs.remote.served_model import ServedModel, Server
    from dycoke_cli.runs.run import OpenAsker
    from dycoke_cli.server.local.server_asker import ServerAsker


_FLAGS = shared_flags.flag_table("""
    [Cluster (--engine ray)]
    --engine NAME: local (this machine), or ray (a Ray cluster; needs the package ray).
    --address auto|HOST:PORT: The running Ray cluster; auto is the one that this machine belongs to.
        Needs --engine ray.
    --num-gpus-per-worker N: GPUs reserved per worker; 0.5 puts two workers on one GPU. Default: 1
        if the cluster has GPUs and --device allows one. Needs --engine ray.
    --num-cpus-per-worker N: CPUs reserved per worker, and its number of threads; there are as many
        workers as fit. Needs --engine ray.
    [Run]
    --batch-size N|auto: Questions answered together, about videos of equal shape; auto goes by free
        memory. Always 1 when sampling (--temperature). Excludes --server.
    --fail-fast: Stop at the first failure.
    [Server (--server)]
    --server URL: Have an OpenAI-compatible server answer, such as http://localhost:8000/v1 (vLLM,
        dycoke serve); frames are read here. --model is its name there; a method that is named is
        sent along. Excludes --engine, --device, --dtype, --device-map, --quantize, --kernels,
        --random-weights, --video-tokens, --compare.
    --api-key-env NAME: Environment variable with the server's key. Needs --server.
    --as-images: Send frames as pictures, to a server that takes no videos. Needs --server.
    --requests N: Requests in flight. Needs --server.
    [Model]
    --no-server: Load the model here, even if a server of yours (`dycoke serve`) has it in memory.
        Excludes --server.
""")


BatchSize = Annotated[str, _FLAGS["--batch-size"]]


def batch_size(given: str) -> int | None:
    """Parse `--batch-size`; None stands for auto."""
    if given == "auto":
        return None
    if given.isdecimal() and int(given) > 0:
        return int(given)
    raise UsageError(f"--batch-size must be auto, or 1 or more, not {given!r}")


@dataclass(frozen=True)
class EngineFlags:
    """Flags of the execution backend."""

    workers: shared_flags.Workers = None
    engine: Annotated[Literal["local", "ray"], _FLAGS["--engine"]] = "local"
    address: Annotated[str, _FLAGS["--address"]] = "auto"
    num_gpus_per_worker: Annotated[float | None, _FLAGS["--num-gpus-per-worker"]] = None
    num_cpus_per_worker: Annotated[float, _FLAGS["--num-cpus-per-worker"]] = 1.0

    def check(self) -> None:
        """Check the values."""
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")
        self.chosen()  # raises if Ray isn't installed or a value is out of range

    @property
    def is_alone(self) -> bool:
        """Whether a single local process answers."""
        return self.engine == "local" and (self.workers or 1) == 1

    def start(self) -> None:
        """Start the imports of local worker processes in the background."""
        if self.engine == "local" and self.workers is not None and self.workers > 1:
            from dycoke_cli.runs.pool import start_importing

            start_importing()

    def chosen(self) -> OpenAsker | None:
        """The chosen engine; None for that of this machine."""
        if self.engine == "local":
            return None
        from dycoke_cli.runs.ray import OnRay, RayAsker

        gpus = self.num_gpus_per_worker
        return partial(RayAsker, OnRay(self.address, self.num_cpus_per_worker, gpus))


NoServer = Annotated[bool, _FLAGS["--no-server"]]


@dataclass(frozen=True)
class ServerFlags:
    """Flags of a remote server."""

    requests = 1  # in flight

    server: Annotated[str | None, _FLAGS["--server"]] = None
    api_key_env: Annotated[str, _FLAGS["--api-key-env"]] = "OPENAI_API_KEY"
    as_images: Annotated[bool, _FLAGS["--as-images"]] = False

    def chosen(
        self, context: typer.Context, request: Request, model: str | None, *, rows: bool = False
    ) -> Server | None:
        """The chosen server; None without one.

        Args:
            model: of the flags.
            rows: whether each row of a table has its own method; otherwise the method is sent if a
                flag sets it or one of its parameters.
        """
        if self.server is None:
            return None
        from dycoke_cli.runs.remote.served_model import Server

        # Unless a flag names a method, the server's own default applies, not ours.
        parts = {"method", *parameters_of(type(request.method))}
        return Server(
            self.server,
            self.api_key_env,
            self.requests,
            names_method=rows or not parts.isdisjoint(shared_flags.given(context)),
            as_images=self.as_images,
            model=model,
        )


@dataclass(frozen=True)
class BusyServerFlags(ServerFlags):
    """Flags of a remote server that answers several requests at once."""

    requests: Annotated[int, _FLAGS["--requests"]] = 8


def served(remote: Server, methods: Sequence[Method]) -> tuple[ServedModel, OpenAsker]:
    """The model of a server of the flags, and what opens who answers a run with it."""
    from dycoke_cli.runs.remote.remote_asker import RemoteAsker

    model = remote.connected(methods)
    return model, lambda plan, _: RemoteAsker(model, plan.request)


@dataclass(frozen=True)
class AskerFlags:
    """Flags of who answers: another server, the user's own, or else this process."""

    cache: shared_flags.Cache = False
    no_server: NoServer = False
    server: ServerFlags = ServerFlags()

    def asker(self, request: Request, remote: Server | None, view: View, **engine: Any) -> Asker:
        """Who answers a conversation.

        Args:
            remote: server of the flags.
            engine: of `engine_of`, for one of this process.
        """
        from dycoke_cli.runs.converse import engine_of

        if remote is not None:
            model, opened = served(remote, [request.method])
            return opened(model.plan(request), view)
        own = self._own_server(request, view)
        return own or engine_of(request, view, cache=self.cache, **engine)

    def _own_server(self, request: Request, view: View, **how: Any) -> ServerAsker | None:
        """The user's own server, if it can answer; a note says why not. Args: of `find_server`."""
        from dycoke_cli.server.local.server_asker import find_server

        if self.no_server:
            return None
        with speaking_of_flags():
            found = find_server(request, cache=self.cache, **how)
        if not isinstance(found, str):
            return found
        if found:
            view.note(f"Asking without your server: {found}")
        return None


@dataclass(frozen=True)
class RunFlags(AskerFlags):
    """Flags of who answers the questions of a run, and how."""

    server: BusyServerFlags = BusyServerFlags()
    fail_fast: Annotated[bool, _FLAGS["--fail-fast"]] = False
    batch_size: BatchSize = "auto"
    engine: EngineFlags = EngineFlags()

    def check(self) -> None:
        """Check the values."""
        self.engine.check()
        batch_size(self.batch_size)

    def plan(
        self, request: Request, remote: Server | None, view: View, stack: ExitStack
    ) -> tuple[RunPlan, OpenAsker | None]:
        """The plan of a run, and who answers; imports torch, unless a server has the model.

        Args:
            remote: server of the flags.
            stack: holds the connection to the user's own server for the length of the run.
        """
        if remote is not None:
            model, opened = served(remote, [request.method])
            return model.plan(request), opened
        together = batch_size(self.batch_size)
        # The user's own server is used unless several workers are wanted, which are faster.
        own = None
        if self.engine.is_alone:
            own = self._own_server(request, view, bulk=True, batch_size=together)
        if own is not None:
            stack.enter_context(own)
            return own.plan(batch_size=together, cache=self.cache), lambda *_: own
        plan = self._plan(request, together)
        if self.engine.engine == "ray":
            from dycoke_cli.loop.plan import common_dtype

            view.note(common_dtype(plan))
        return plan, self.engine.chosen()

    def _plan(self, request: Request, together: int | None) -> RunPlan:
        """Plan of a run with a local model or on a cluster; imports torch."""
        from dycoke_cli.loop.plan import plan_of

        self.engine.start()
        with faster_imports():
            from dycoke_cli.models.devices import free_memory
            from dycoke_cli.models.load_memory import check_room, needed_bytes
            from dycoke_cli.models.resolve import resolve_model

            silence_libraries()
            workers = self.engine.workers or 1
            resolved = resolve_model(request.model, request.loading, workers)
        if workers > 1:  # each loads the model; a single one checks its memory while it loads
            check_room(resolved, free_memory(resolved.device), workers)
        with speaking_of_flags():
            return plan_of(
                request,
                resolved,
                batch_size=together,
                cache=self.cache,
                workers=workers,
                model_bytes=needed_bytes(resolved),
            )

"""Flags of who answers: a server, workers of this machine or a Ray cluster; and the batch size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dycoke_cli.cli.flags import options
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

if TYPE_CHECKING:
    from dycoke_cli.compression.method import Method
    from dycoke_cli.compression.pool import TokenBudget
    from dycoke_cli.runs.remote.served_model import Server
    from dycoke_cli.runs.run import OpenAsker


_FLAGS = options.flag_table("""
    [Cluster (--engine ray)]
    --engine NAME: local (this machine), or ray (a Ray cluster; needs the package ray).
    --address auto|HOST:PORT: A running Ray cluster; auto is the one that this machine belongs to.
        Default: a cluster of this machine alone, for the length of the command.
    --num-gpus-per-worker N: GPUs reserved per worker; 0.5 puts two workers on one GPU. Default: 1
        if the cluster has GPUs and --device allows one.
    --num-cpus-per-worker N: CPUs reserved per worker, and its number of threads; there are as many
        workers as fit.
    --ship: Send the videos to the workers; by default, workers open the same paths as this machine.
    [Run]
    --batch-size N|auto: Questions answered together, about videos of equal shape; auto goes by free
        memory. Always 1 when sampling (--temperature).
    [Server (--server)]
    --server URL: Have an OpenAI-compatible server answer, such as http://localhost:8000/v1 (vLLM,
        dycoke serve); frames are read here. --model is its name there; a method that is named is
        sent along.
    --api-key-env NAME: Environment variable with the server's key.
    --as-images: Send frames as pictures, to a server that takes no videos.
    --requests N: Requests in flight.
    [Model]
    --no-server: Load the model here, even if a server of yours (`dycoke serve`) has it in memory.
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

    workers: options.Workers = None
    engine: Annotated[Literal["local", "ray"], _FLAGS["--engine"]] = "local"
    address: Annotated[str | None, _FLAGS["--address"]] = None
    num_gpus_per_worker: Annotated[float | None, _FLAGS["--num-gpus-per-worker"]] = None
    num_cpus_per_worker: Annotated[float, _FLAGS["--num-cpus-per-worker"]] = 1.0
    ship: Annotated[bool, _FLAGS["--ship"]] = False

    def check(self) -> None:
        """Check the combination of flags."""
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")
        if self.workers is not None and self.engine == "ray":
            raise UsageError(
                "--workers is for this machine; with --engine ray there are as many as find room "
                "(--num-cpus-per-worker), so leave it out"
            )
        if self.engine == "ray":
            self.chosen()  # raises if Ray isn't installed or a value is out of range
            return
        for flag, given in (
            ("--address", self.address is not None),
            ("--num-gpus-per-worker", self.num_gpus_per_worker is not None),
            ("--num-cpus-per-worker", self.num_cpus_per_worker != 1),
            ("--ship", self.ship),
        ):
            if given:
                raise UsageError(f"{flag} is for a cluster: add --engine ray, or leave it out")

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
        from dycoke_cli.runs.ray.cluster import OnRay
        from dycoke_cli.runs.ray.ray_asker import RayAsker

        gpus = self.num_gpus_per_worker
        return partial(RayAsker, OnRay(self.address, self.num_cpus_per_worker, gpus, self.ship))


Requests = Annotated[int, _FLAGS["--requests"]]
REQUESTS = 8

NoServer = Annotated[bool, _FLAGS["--no-server"]]

# Parameters that need the model in this process; they exclude --server.
_LOCAL = (
    "device", "dtype", "revision", "random_weights", "device_map", "quantize", "kernels", "cache",
    "estimate", "memory", "workers", "engine", "address", "batch_size", "ship",
    "num_gpus_per_worker", "num_cpus_per_worker", "no_server", "by",
)  # fmt: skip


@dataclass(frozen=True)
class ServerFlags:
    """Flags of a remote server."""

    server: Annotated[str | None, _FLAGS["--server"]] = None
    api_key_env: Annotated[str, _FLAGS["--api-key-env"]] = "OPENAI_API_KEY"
    as_images: Annotated[bool, _FLAGS["--as-images"]] = False

    def check(self, context: typer.Context) -> None:
        """Check that no flag contradicts --server, or needs it."""
        given = options.given(context)
        if self.server is None:
            if alone := given & {"api_key_env", "as_images", "requests"}:
                raise UsageError(f"{_flag(min(alone))} is for a server: add --server URL")
            return
        # Imported late: no help page needs it.

        local = [name for name in _LOCAL if name in given]
        if local:
            raise UsageError(
                f"{_flag(local[0])} is for a model on this machine: leave it out, or --server"
            )

    def chosen(
        self,
        context: typer.Context,
        method: Method | None = None,
        budget: TokenBudget | None = None,
    ) -> Server | None:
        """The chosen server; None without one.

        Args:
            method: sent to the server if a flag sets it or one of its parameters; None if each row
                of a table has its own method.
        """
        if self.server is None:
            return None
        from dycoke_cli.runs.remote.served_model import Server

        # Unless a flag names a method, the server's own default applies, not ours.
        parts = set() if method is None else {"method", *parameters_of(type(method))}
        return Server(
            self.server,
            self.api_key_env,
            context.params.get("requests", 1),
            names_method=method is None or not parts.isdisjoint(options.given(context)),
            as_images=self.as_images,
            max_tokens=None if budget is None else budget.max_tokens,
        )


def _flag(parameter: str) -> str:
    return f"--{parameter.replace('_', '-')}"

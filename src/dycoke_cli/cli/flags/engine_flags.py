"""Flags of the execution backend (workers, Ray) and of the batch size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from dycoke_cli.cli.flags import options
from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.runs.run import Backend


_FLAGS = flag_table("""
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

    def other(self) -> Backend | None:
        """The chosen engine if it isn't local, otherwise None."""
        return None if self.engine == "local" else self.chosen()

    def chosen(self) -> Backend:
        """The chosen engine."""
        if self.engine == "local":
            from dycoke_cli.runs.local import answers

            return answers
        from dycoke_cli.runs.ray.workers import OnRay

        return OnRay(self.address, self.num_cpus_per_worker, self.num_gpus_per_worker, self.ship)

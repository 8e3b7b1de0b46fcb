"""Flags of the execution backend (workers, Ray) and of the batch size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dycoke_cli.cli.flags import options
from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.runs.run import Backend

_PANEL = "Cluster (--engine ray)"
_RUN = "Run"

EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        metavar="NAME",
        help="local (this machine), or ray (a Ray cluster; needs the package ray).",
        rich_help_panel=_PANEL,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="auto|HOST:PORT",
        help="A running Ray cluster; auto is the one that this machine belongs to. Default: a "
        "cluster of this machine alone, for the length of the command.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--num-gpus-per-worker",
        metavar="N",
        help="GPUs reserved per worker; 0.5 puts two workers on one GPU. Default: 1 if the cluster "
        "has GPUs and --device allows one.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Cpus = Annotated[
    float,
    typer.Option(
        "--num-cpus-per-worker",
        metavar="N",
        help="CPUs reserved per worker, and its number of threads; there are as many workers as "
        "fit.",
        rich_help_panel=_PANEL,
    ),
]
Ship = Annotated[
    bool,
    typer.Option(
        "--ship",
        help="Send the videos to the workers; by default, workers open the same paths as this "
        "machine.",
        rich_help_panel=_PANEL,
    ),
]


BatchSize = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Questions answered together, about videos of equal shape; auto goes by free memory. "
        "Always 1 when sampling (--temperature).",
        rich_help_panel=_RUN,
    ),
]


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
    engine: EngineName = "local"
    address: Address = None
    num_gpus_per_worker: Gpus = None
    num_cpus_per_worker: Cpus = 1.0
    ship: Ship = False

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

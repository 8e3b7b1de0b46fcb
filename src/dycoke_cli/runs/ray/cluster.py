"""Joins a Ray cluster, and finds the room for workers on it.

Undocumented parts of Ray that are used here, checked on 2.60.0:

- `ray._private.services.canonicalize_bootstrap_address` finds the cluster of "auto". Without it,
  joining a cluster that isn't there takes two minutes.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dycoke_cli import plugins
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.extras import how_to_install

if TYPE_CHECKING:
    from dycoke_cli.loop.asker import Asker
    from dycoke_cli.loop.plan import RunPlan

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


def broken(error: BaseException) -> DycokeError:
    """Error of a run whose cluster failed; a `DycokeError` is returned as it is."""
    if isinstance(error, DycokeError):
        return error
    # The end of the message: Ray puts the cause after the tracebacks of all processes between.
    cause = " ".join(str(error).split())[-300:]
    return DycokeError(
        f"the Ray cluster broke down ({type(error).__name__}: {cause}); run it again"
    )

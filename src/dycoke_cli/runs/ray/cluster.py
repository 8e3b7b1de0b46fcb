"""Connects to a Ray cluster, or starts one on this machine, and keeps Ray off stdout and stderr.

Undocumented parts of Ray that are used here, checked on 2.60.0:

- `ray._private.services.canonicalize_bootstrap_address` finds the cluster of "auto". Without it,
  joining a cluster that isn't there takes two minutes.
- `ray._private.ray_constants.ENABLE_RAY_CLUSTER`, read from the environment when Ray is imported,
  is whether other machines can join a cluster, which then listens on all interfaces.
- `ray.init(_temp_dir=…, _plasma_directory=…)`.
- Only in tests: `ray._private.utils.get_shared_memory_bytes`, `ray._private.worker._global_node`.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli import plugins
from dycoke_cli.errors import DycokeError, OutOfMemoryError, OutputError, UsageError
from dycoke_cli.extras import how_to_install
from dycoke_cli.models.explaining import DEBUG
from dycoke_cli.resources import in_words, usable_cpus
from dycoke_cli.storage.output_file import temporary_folder

if TYPE_CHECKING:
    from dycoke_cli.loop.asker import Asker
    from dycoke_cli.loop.plan import RunPlan

# Small: videos are sent in chunks, and answers are short.
_OBJECT_STORE_BYTES = 128 * 1024**2
_CONNECT_TIMEOUT_S = 5.0
SHARED_MEMORY = "/dev/shm"
"""Where Ray has its object store on Linux, if it is large enough."""
# For Ray's logs and sockets; with less, it doesn't start and doesn't say why.
_TEMPORARY_BYTES = 16 * 1024**2
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise a call that is still under way after `shutdown` would start another cluster.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray prints messages about dead workers to stdout, where the answers go.
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    # On a busy machine its processes don't start within Ray's own 30 s.
    "RAY_gcs_server_port_wait_time_s": "120",
}
_QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal"}


class NoClusterError(DycokeError):
    """There is no cluster at an address."""


@dataclass(frozen=True)
class Workers:
    """Number of workers that fit on a cluster, and the resources that each reserves."""

    count: int  # number of workers
    cpus: float  # of each
    gpus: float  # of each
    memory: int = 0  # of each, in bytes of main memory; 0 if the model is on a GPU

    @property
    def threads(self) -> int:
        """Threads for arithmetic in each worker."""
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class OnRay:
    """Options of a run on a cluster."""

    address: str | None = None  # of the cluster, as of `connected`
    cpus: float = 1.0  # that a worker reserves
    gpus: float | None = None  # that a worker reserves; None is one if the cluster has any
    ship: bool = False  # send the videos to the workers, because they can't open their paths
    # makes what answers in a worker, with a number of threads; None is an engine
    make: Callable[[RunPlan, int], Asker] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cpus < float("inf"):
            raise UsageError(f"--num-cpus-per-worker must be above 0, not {self.cpus:g}")
        if self.gpus is not None and not 0 <= self.gpus < float("inf"):
            raise UsageError(f"--num-gpus-per-worker must be 0 or more, not {self.gpus:g}")
        need_ray()


def need_ray() -> None:
    """Check that Ray is installed."""
    if find_spec("ray") is None:
        raise UsageError(f"--engine ray needs Ray: {how_to_install('ray')}; or leave --engine out")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect this process to a cluster for the length of the block.

    Args:
        address: "auto" (the cluster that this machine is part of) or HOST:PORT. None starts a
            cluster on this machine, which ends with the block.
    """
    ray = import_ray()
    options: dict[str, Any]
    if ray.is_initialized():
        yield
        return
    # Ray puts sockets into this folder, and their paths are limited to about 100 characters. The
    # default folder of macOS takes 50 of them.
    place = Path("/tmp") if sys.platform == "darwin" else None
    with temporary_folder(place) as folder:
        if address is None:
            _check_space(folder.parent)
            options = {
                "address": "local",
                "num_cpus": usable_cpus(),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
                # Ray's logs are removed with this folder, unless they are to be read. Ray makes the
                # folder that it is given readable for everybody: a subfolder of ours stays closed.
                **({} if os.environ.get(DEBUG) else {"_temp_dir": f"{folder}/r"}),
                # Without shared memory that can be written, Ray doesn't start.
                "_plasma_directory": None if _has_shared_memory() else str(folder),
            }
        else:
            # Its workers don't inherit the environment of this process.
            files = {plugins.ENVIRONMENT: os.pathsep.join(map(str, plugins.files()))}
            options = {"address": _reachable(address), "runtime_env": {"env_vars": files}}
        before = signal.getsignal(signal.SIGTERM)  # Ray installs its own handler
        try:
            with _silent_stderr(), _private(address is None):
                ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # Ray raises a bare one if its processes don't start in time
            raise DycokeError(f"{_where(address)}: {_first_line(error)}") from error
        finally:
            signal.signal(signal.SIGTERM, before)
        try:
            yield
        finally:
            ray.shutdown()


def _has_shared_memory() -> bool:
    return sys.platform != "linux" or os.access(SHARED_MEMORY, os.W_OK)


def _check_space(folder: Path) -> None:
    if (free := shutil.disk_usage(folder).free) < _TEMPORARY_BYTES:
        raise OutputError(
            f"Ray needs {_TEMPORARY_BYTES / 1e6:.0f} MB for its files, and {folder} has "
            f"{free / 1e6:.0f} MB free; make room, or set TMPDIR to another folder"
        )


@contextmanager
def _private(ours: bool) -> Iterator[None]:
    """Close a cluster that is started in the block to other users and machines.

    It listens on the loopback interface only, and its files, including the token for joining it,
    are readable by this user only.
    """
    if not ours:
        yield
        return
    from ray._private import ray_constants

    with suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)  # made by an earlier Ray
    joinable, umask = ray_constants.ENABLE_RAY_CLUSTER, os.umask(0o077)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = joinable
        os.umask(umask)


def fit_workers(cpus: float, gpus: float | None, device: str, model_bytes: int = 0) -> Workers:
    """Number of workers that fit on the connected cluster.

    Args:
        gpus: that a worker reserves; None is one if the cluster has any and `device` allows it.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus is None:
        any_gpu = any(node.get("GPU", 0) for node in nodes)
        gpus = 1.0 if any_gpu and device not in ("cpu", "mps") else 0.0
    memory = 0 if gpus else model_bytes
    fitting = [_fitting(node, cpus, gpus) for node in nodes]
    count = sum(
        min(fits, int(node.get("memory", 0) / memory)) if memory else fits
        for node, fits in zip(nodes, fitting, strict=True)
    )
    if count == 0 and any(fitting):
        largest = max(node.get("memory", 0) for node in nodes)
        raise OutOfMemoryError(
            f"the model {in_words(memory, int(largest))} on the largest machine of the cluster; "
            "use a smaller --model"
        )
    if count == 0:
        raise UsageError(
            f"no machine of the cluster has {cpus:g} CPUs and {gpus:g} GPUs for a worker; lower "
            "--num-cpus-per-worker or --num-gpus-per-worker"
        )
    return Workers(count, cpus, gpus, memory)


def _fitting(node: dict[str, float], cpus: float, gpus: float) -> int:
    fits = int(node.get("CPU", 0) / cpus)
    return min(fits, int(node.get("GPU", 0) / gpus)) if gpus else fits


def broken(error: BaseException) -> DycokeError:
    """Error of a run whose cluster failed; a `DycokeError` is returned as it is."""
    if isinstance(error, DycokeError):
        return error
    # The end of the message: Ray puts the cause after the tracebacks of all processes between.
    cause = " ".join(str(error).split())[-300:]
    return DycokeError(
        f"the Ray cluster broke down ({type(error).__name__}: {cause}); run it again"
    )


def import_ray() -> Any:
    """Import Ray, silenced."""
    need_ray()
    # Before the import, which reads these variables.
    os.environ.update(_ALWAYS if os.environ.get(DEBUG) else _ALWAYS | _QUIET)
    import ray

    return ray


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
        raise NoClusterError(f"{_where(address)}: none runs on this machine")
    host, _, port = resolved.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise NoClusterError(f"{_where(address)}: nothing answers at {resolved}") from error
    return resolved


def _where(address: str | None) -> str:
    if address is None:
        return "Ray can't start on this machine"
    return (
        f"no Ray cluster can be joined at --address {address} (start one with `ray start --head`, "
        "or leave out --address)"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 to /dev/null: Ray's processes write to it, not to `sys.stderr`."""
    if os.environ.get(DEBUG):
        yield
        return
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

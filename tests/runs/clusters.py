"""Real Ray clusters on this machine, of several nodes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.runs.ray import import_ray
from tests.cli.harness import REAL, Outcome

# A cluster takes a while to come up on a busy machine.
PATIENCE_S = 600
HAS_RAY = find_spec("ray") is not None
# Ray reads it when it is imported: on a busy machine a node doesn't start within its own 30 s.
os.environ["RAY_gcs_server_port_wait_time_s"] = "120"  # noqa: SIM112
_NODE = {"num_cpus": 1, "object_store_memory": 100 * 1024**2, "include_dashboard": False}


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """A cluster of so many nodes with a CPU each; it ends with the block."""
    if not HAS_RAY:
        pytest.skip("Ray isn't installed")
    import_ray()
    from ray.cluster_utils import Cluster

    cluster = _started(lambda: Cluster(initialize_head=True, head_node_args=_NODE))
    try:
        for _ in range(nodes - 1):
            add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """One more node."""
    return _started(lambda: cluster.add_node(**_NODE))


def _started(start: Callable[[], Any]) -> Any:
    """Start a node again if it isn't there in the 30 s that Ray gives it, on a busy machine."""
    for _ in range(5):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


def environment(cluster: Any) -> dict[str, str]:
    """Of a command that joins a cluster."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": cluster.address}


def run_on(cluster: Any, *arguments: str | Path, stdin: bytes = b"") -> Outcome:
    """Run a command, which joins a cluster, as a process."""
    done = subprocess.run(
        [*REAL, *map(str, arguments), "--engine", "ray"],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(cluster),
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

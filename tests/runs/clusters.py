"""Real Ray clusters on this machine, of several nodes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.runs.ray.cluster import import_ray
from tests.cli.harness import REAL, Outcome

# A cluster takes a while to come up on a busy machine.
PATIENCE_S = 600
HAS_RAY = find_spec("ray") is not None
_NODE = {"num_cpus": 1, "object_store_memory": 100 * 1024**2, "include_dashboard": False}


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """A cluster of so many nodes with a CPU each; it ends with the block."""
    if not HAS_RAY:
        pytest.skip("Ray isn't installed")
    import_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=_NODE)
    try:
        for _ in range(nodes - 1):
            add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """One more node."""
    return cluster.add_node(**_NODE)


def on_two_cpus() -> None:
    """Two workers on Ray, however many there would be: each takes ten seconds to import torch."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def run_on_two_cpus(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
    """Run a command, which may start a cluster, as a process on two CPUs."""
    done = subprocess.run(
        [*REAL, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=on_two_cpus,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

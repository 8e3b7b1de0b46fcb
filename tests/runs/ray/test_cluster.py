"""Which cluster is joined, how many workers fit on it, and the errors if none does."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.errors import DycokeError, OutOfMemoryError, OutputError, UsageError
from dycoke_cli.runs.ray import cluster
from dycoke_cli.runs.ray.cluster import OnRay, Workers, connected, fit_workers
from tests.cli.harness import run_here, run_process

ray = pytest.importorskip("ray")


def nodes(*resources: dict[str, float]) -> Any:
    alive = [{"Alive": True, "Resources": known} for known in resources]
    return lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]


@pytest.mark.parametrize(
    ("cpus", "gpus", "device", "expected"),
    [
        (1.0, None, "cpu", Workers(14, 1.0, 0.0)),
        (4.0, None, "cpu", Workers(2, 4.0, 0.0)),
        (1.0, None, "auto", Workers(3, 1.0, 1.0)),
        (1.0, 0.0, "auto", Workers(14, 1.0, 0.0)),
        (1.0, 0.5, "cuda", Workers(5, 1.0, 0.5)),
        (3.0, 1.0, "cuda", Workers(2, 3.0, 1.0)),
    ],
)
def test_room_is_counted_machine_by_machine(
    cpus: float, gpus: float | None, device: str, expected: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One with many CPUs and no GPU, one with few CPUs for two GPUs, one with few of both.
    machines = nodes({"CPU": 6.0}, {"CPU": 3.0, "GPU": 2.0}, {"CPU": 5.0, "GPU": 1.0})
    monkeypatch.setattr(ray, "nodes", machines)
    assert fit_workers(cpus, gpus, device) == expected


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", nodes({"CPU": 3.0}, {"CPU": 3.0}))
    with pytest.raises(UsageError, match="no machine of the cluster has 4 CPUs and 0 GPUs"):
        fit_workers(4, None, "auto")
    with pytest.raises(UsageError, match="has 1 CPUs and 1 GPUs"):
        fit_workers(1, 1, "auto")


def test_workers_share_the_memory_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    gigabyte = 10**9
    machines = nodes(
        {"CPU": 8.0, "memory": 10.0 * gigabyte}, {"CPU": 2.0, "memory": 90.0 * gigabyte}
    )
    monkeypatch.setattr(ray, "nodes", machines)
    assert fit_workers(1, None, "auto", 4 * gigabyte) == Workers(4, 1, 0, 4 * gigabyte)
    with pytest.raises(OutOfMemoryError, match=r"needs about 91 GB, 90 GB free on the largest mac"):
        fit_workers(1, None, "auto", 91 * gigabyte)
    # On a GPU the model takes none of it; there a worker looks itself.
    with_gpu = nodes({"CPU": 8.0, "GPU": 1.0, "memory": 1.0 * gigabyte})
    monkeypatch.setattr(ray, "nodes", with_gpu)
    assert fit_workers(1, None, "auto", 4 * gigabyte) == Workers(1, 1, 1.0, 0)


def test_threads_are_what_is_reserved() -> None:
    assert [Workers(1, cpus, 0).threads for cpus in (0.5, 1, 3)] == [1, 1, 3]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://head:10001", "is that of a Ray client"),
        ("rubbish", "--address must be auto or HOST:PORT, not 'rubbish'"),
    ],
)
def test_address_that_isnt_one(address: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence), connected(address):
        pass


def test_a_cluster_that_doesnt_start_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(**options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", too_late)
    with (
        pytest.raises(DycokeError, match="can't start on this machine: The current node timed"),
        connected(None),
    ):
        pass


def test_a_full_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.shutil, "disk_usage", lambda path: SimpleNamespace(free=2_000_000))
    with (
        pytest.raises(OutputError, match=r"needs 17 MB for its files, and \S+ has 2 MB free; make"),
        connected(None),
    ):
        pass


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Ray uses it on Linux alone")
def test_without_shared_memory() -> None:
    """In some containers there is no /dev/shm, or it is read-only."""
    with tempfile.TemporaryDirectory() as folder:  # short, as paths of sockets must be
        run = run_process([sys.executable, "-c", WITHOUT_SHARED_MEMORY], TMPDIR=folder)
        assert (run.code, run.out) == (0, "7\n"), run.err
        assert os.listdir(folder) == []


# Only root could take it away: here Ray is told that there is none.
WITHOUT_SHARED_MEMORY = """
import os, ray
from dycoke_cli.runs.ray import cluster
def missing():
    raise FileNotFoundError(2, "No such file or directory", "/dev/shm")
ray._private.utils.get_shared_memory_bytes = missing
cluster.SHARED_MEMORY = "/dev/none"
with cluster.connected(None):
    print(ray.get(ray.remote(lambda: 7).remote()))
"""


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        pytest.raises(DycokeError, match=rf"nothing answers at \S+:{port}"),
        connected(f"127.0.0.1:{port}"),
    ):
        pass


def test_stderr_is_back_after_ray_has_started(capfd: pytest.CaptureFixture[str]) -> None:
    with cluster._silent_stderr():
        os.write(2, b"noise")
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"


def test_numbers_out_of_range() -> None:
    for arguments, flag in (({"cpus": 0.0}, "cpus"), ({"gpus": -1.0}, "gpus")):
        with pytest.raises(UsageError, match=f"--num-{flag}-per-worker must be"):
            OnRay(**arguments)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .*\[ray\]"):
        OnRay()


@pytest.mark.parametrize(
    "flags", [("--address", "auto"), ("--ship",), ("--num-gpus-per-worker", "1")]
)
def test_flags_of_a_cluster_without_one(flags: tuple[str, ...]) -> None:
    done = run_here("batch", "nowhere", "What?", *flags)
    assert done.code == 2
    assert f"{flags[0]} needs --engine ray" in done.err


@pytest.mark.extended
@pytest.mark.slow
def test_a_cluster_of_our_own_is_out_of_reach(tmp_path: Path) -> None:
    """It listens to this machine alone, and other users read nothing of it."""
    # A process of its own, for Ray keeps the token of its first cluster.
    run = run_process([sys.executable, "-c", CLUSTER], HOME=str(tmp_path))
    assert run.code == 0, run.err
    assert run.object["listening"] == ["127.0.0.1"]
    assert run.object["files"] > 3
    assert run.object["open"] == []
    assert not Path(run.object["folder"]).exists()
    token = tmp_path / ".ray" / "auth_token"
    assert not token.exists() or token.stat().st_mode & 0o077 == 0


CLUSTER = """
import json, os, pathlib, psutil, ray
from dycoke_cli.runs.ray.cluster import connected
umask = os.umask(0o022)
with connected(None):
    assert os.umask(0o022) == 0o022  # what the run itself writes is as the user wants it
    ray.get(ray.remote(lambda: None).remote())  # a worker listens, too
    ours = psutil.Process()
    listening = {
        one.laddr.ip.removeprefix("::ffff:")
        for process in [ours, *ours.children(recursive=True)]
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    session = pathlib.Path(ray._private.worker._global_node.get_session_dir_path())
    folder = session.parents[1]
    files = [path for path in session.rglob("*") if path.is_file()]
    is_open = [str(path) for path in [folder, *files] if path.stat().st_mode & 0o077]
found = {"listening": sorted(listening), "files": len(files), "open": is_open}
print(json.dumps(found | {"folder": str(folder)}))
"""

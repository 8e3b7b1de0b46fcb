"""Which cluster is joined, the room for workers on it, and the errors if there is none."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs.ray import OnRay, connected, room
from tests.cli.harness import run_here
from tests.runs.pretending import PLAN

ray = pytest.importorskip("ray")
GB = 10**9


def has(monkeypatch: pytest.MonkeyPatch, *machines: dict[str, float]) -> None:
    """A cluster of these machines, and one that has left it."""
    totals: dict[str, float] = {}
    for machine in machines:
        totals = {name: totals.get(name, 0) + machine.get(name, 0) for name in totals | machine}
    alive = [{"Alive": True, "Resources": machine} for machine in machines]
    gone = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 900.0 * GB}}
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, gone])
    monkeypatch.setattr(ray, "cluster_resources", lambda: totals)


def room_for(options: OnRay, device: str, nbytes: int | None = None) -> tuple[Any, int]:
    request = replace(PLAN.request, loading=LoadOptions(device=device))
    needs, count = room(options, replace(PLAN, request=request, model_bytes=nbytes))
    return (needs["CPU"], needs["GPU"], needs["memory"]), count


@pytest.mark.parametrize(
    ("cpus", "gpus", "device", "expected"),
    [
        (1.0, None, "cpu", ((1, 0, 0), 14)),
        (4.0, None, "cpu", ((4, 0, 0), 3)),
        (1.0, None, "auto", ((1, 1, 0), 3)),
        (1.0, 0.0, "auto", ((1, 0, 0), 14)),
        (1.0, 0.5, "cuda", ((1, 0.5, 0), 6)),
        (3.0, 1.0, "cuda", ((3, 1, 0), 3)),
    ],
)
def test_room_for_workers(
    cpus: float, gpus: float | None, device: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = ({"CPU": 6.0}, {"CPU": 3.0, "GPU": 2.0}, {"CPU": 5.0, "GPU": 1.0})
    has(monkeypatch, *machines)
    assert room_for(OnRay(cpus=cpus, gpus=gpus), device) == expected


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, {"CPU": 3.0}, {"CPU": 3.0})
    for options, sentence in (
        (OnRay(cpus=4), "has 4 CPUs, 0 GPUs and"),
        (OnRay(gpus=1), "has 1 CPUs, 1 GPUs and"),
    ):
        with pytest.raises(UsageError, match=f"no machine of the cluster {sentence}"):
            room_for(options, "auto")


def test_workers_share_the_memory_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, {"CPU": 8.0, "memory": 10.0 * GB}, {"CPU": 2.0, "memory": 90.0 * GB})
    assert room_for(OnRay(), "auto", 25 * GB) == ((1, 0, 25 * GB), 4)
    with pytest.raises(UsageError, match=r"and 91\.0 GB of memory for a worker"):
        room_for(OnRay(), "auto", 91 * GB)
    # On a GPU the model takes none of it; there a worker looks itself.
    has(monkeypatch, {"CPU": 8.0, "GPU": 1.0, "memory": 1.0 * GB})
    assert room_for(OnRay(), "auto", 4 * GB) == ((1, 1, 0), 1)


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


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        pytest.raises(DycokeError, match=rf"nothing answers at \S+:{port}"),
        connected(f"127.0.0.1:{port}"),
    ):
        pass


def test_numbers_out_of_range() -> None:
    for arguments, flag in (({"cpus": 0.0}, "cpus"), ({"gpus": -1.0}, "gpus")):
        with pytest.raises(UsageError, match=f"--num-{flag}-per-worker must be"):
            OnRay(**arguments)


@pytest.mark.parametrize("flags", [("--address", "head:6379"), ("--num-gpus-per-worker", "1")])
def test_flags_of_a_cluster_without_one(flags: tuple[str, ...]) -> None:
    done = run_here("batch", "nowhere", "What?", *flags)
    assert done.code == 2
    assert f"{flags[0]} needs --engine ray" in done.err

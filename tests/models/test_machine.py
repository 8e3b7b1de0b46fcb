"""What is free on this machine, and what fits: from files and a program that the test makes."""

from dataclasses import replace

import pytest

from dycoke_cli import resources
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.machine import Machine, this_machine

GB = 10**9


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system with 8 GiB to spare, no limit and no GPU."""
    (tmp_path / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    monkeypatch.setattr(resources, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "_MOUNTED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_main_memory(system):
    assert this_machine() == Machine(8 * 1024**3, ())


def test_a_container_that_may_have_less(system):
    (system / "memory.current").write_text("1000\n")
    (system / "memory.max").write_text("max\n")
    assert this_machine().ram_bytes == 8 * 1024**3
    (system / "memory.max").write_text("5000\n")
    assert this_machine().ram_bytes == 4000


def test_cpus_are_those_that_may_be_used(system, monkeypatch):
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda pid: set(range(6)))
    assert resources.usable_cpus() == 6
    (system / "cpu.max").write_text("max 100000\n")
    assert resources.usable_cpus() == 6
    (system / "cpu.max").write_text("250000 100000\n")
    assert resources.usable_cpus() == 3
    (system / "cpu.max").write_text("1000 100000\n")
    assert resources.usable_cpus() == 1


def test_cpus_by_the_first_version_of_groups(system, monkeypatch):
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda pid: set(range(6)))
    (system / "cgroup").write_text("3:cpu,cpuacct:/job\n")
    (system / "cpu" / "job").mkdir(parents=True)
    (system / "cpu" / "job" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, cpus in (("-1", 6), ("200000", 2)):
        (system / "cpu" / "job" / "cpu.cfs_quota_us").write_text(quota)
        assert resources.usable_cpus() == cpus


def test_no_way_to_ask(system):
    (system / "meminfo").unlink()
    assert this_machine() == Machine(None, ())


@pytest.mark.parametrize(
    ("script", "free"),
    [
        ("echo 81000; echo 40000", (81000 * 1024**2, 40000 * 1024**2)),
        ("echo 'No devices were found'", ()),
        ("exit 9", ()),
    ],
)
def test_gpus(system, script, free):
    path = system / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    assert this_machine().gpu_bytes == free


SEVEN = replace(CATALOG["llava-onevision-7b"], download_bytes=16 * GB)


@pytest.mark.parametrize(
    ("ram", "gpus", "place"),
    [
        (64 * GB, (24 * GB,), "gpu"),
        (64 * GB, (10 * GB, 24 * GB), "gpu"),
        (64 * GB, (10 * GB, 10 * GB), "ram"),
        (64 * GB, (), "ram"),
        (19 * GB, (19 * GB,), "no"),
        (None, (24 * GB,), "gpu"),
        (None, (8 * GB,), None),
        (None, (), None),
    ],
)
def test_where_a_model_fits(ram, gpus, place):
    assert Machine(ram, gpus).holds(SEVEN) == place


def test_sixteen_bits_a_parameter_where_the_download_is_unknown():
    unknown = replace(SEVEN, download_bytes=None, parameters=8 * GB)
    assert Machine(19 * GB, ()).holds(unknown) == "no"
    assert Machine(20 * GB, ()).holds(unknown) == "ram"
    assert Machine(20 * GB, ()).holds(replace(unknown, parameters=None)) is None

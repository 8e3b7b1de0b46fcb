"""The CPUs that a process may use: fewer than there are, where it is bound or has a quota."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from dycoke_cli import resources
from dycoke_cli.resources import usable_cpus


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Groups as the kernel has them, and eight CPUs."""
    (tmp_path / "cgroup").write_text("0::/user/job\n")
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "_MOUNTED", tmp_path)
    (tmp_path / "user" / "job").mkdir(parents=True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(8)}, raising=False)
    return tmp_path


def test_no_limit(system: Path) -> None:
    assert usable_cpus() == 8
    (system / "user" / "job" / "cpu.max").write_text("max 100000\n")
    assert usable_cpus() == 8


@pytest.mark.parametrize(("quota", "cpus"), [(250_000, 3), (100_000, 1), (20_000, 1), (900_000, 8)])
def test_the_quota_of_a_group_above(system: Path, quota: int, cpus: int) -> None:
    (system / "user" / "cpu.max").write_text(f"{quota} 100000\n")
    assert usable_cpus() == cpus


@pytest.mark.parametrize(("quota", "cpus"), [(-1, 8), (200_000, 2)])
def test_a_quota_of_the_older_kind(system: Path, quota: int, cpus: int) -> None:
    (system / "cgroup").write_text("4:cpu,cpuacct:/job\n2:pids:/\n")
    folder = system / "cpu" / "job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus() == cpus


def test_where_nothing_is_listed(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


def test_this_process() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)

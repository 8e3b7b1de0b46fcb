"""CPUs of a process."""

from __future__ import annotations

import os
from pathlib import Path

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


def test_where_nothing_is_listed(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


def test_this_process() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)

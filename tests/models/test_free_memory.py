"""What is free, by the files that the system keeps."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from dycoke_cli import resources
from dycoke_cli.models.devices import free_memory, free_memory_of_all
from dycoke_cli.resources import in_words, main_memory

CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as the kernel writes them: 8 GB available, no limits."""
    (tmp_path / "meminfo").write_text(
        "MemTotal: 16000000 kB\nMemFree: 1000 kB\nMemAvailable: 8000000 kB\nBuffers: 0 kB\n"
        "Cached: 0 kB\nShmem: 0 kB\nActive: 0 kB\nInactive: 0 kB\n"
    )
    (tmp_path / "cgroup").write_text("0::/user/job\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "_MOUNTED", tmp_path / "fs")
    return tmp_path


def group(folder: Path, most: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_what_is_available(system: Path) -> None:
    assert free_memory(CPU) == 8_000_000 * 1024
    assert main_memory() == 16_000_000 * 1024


def test_the_limit_of_a_container(system: Path) -> None:
    group(system / "fs" / "user" / "job", "max", 3 * GB, 0)
    assert free_memory(CPU) == 8_000_000 * 1024
    group(system / "fs" / "user", str(6 * GB), 3 * GB, 1 * GB)  # of a group above it
    assert (free_memory(CPU), main_memory()) == (4 * GB, 6 * GB)
    group(system / "fs" / "user" / "job", str(2 * GB), 3 * GB, 0)
    assert free_memory(CPU) == 0


def test_the_limit_where_only_the_top_is_mounted(system: Path) -> None:
    group(system / "fs", str(6 * GB), 4 * GB, 0)
    assert free_memory(CPU) == 2 * GB


def test_where_nobody_says(system: Path) -> None:
    (system / "meminfo").unlink()
    (system / "cgroup").unlink()
    assert free_memory(CPU) is None
    assert main_memory() is None


def test_a_spread_model_has_all_devices(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: ((3 + gpu) * GB, 80 * GB))
    assert free_memory_of_all() == 7 * GB + 8_000_000 * 1024


def test_in_words() -> None:
    assert in_words(19_010_000_000, 24_400_000_000) == "needs about 19 GB, 24 GB free"
    assert in_words(9_440_000_000, 500_000_000) == "needs about 9.4 GB, 0.5 GB free"

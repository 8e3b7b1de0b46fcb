"""What is free, by the files that the system keeps and by its GPUs, and what fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dycoke_cli import resources
from dycoke_cli.models import devices
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.devices import FreeMemory, free_memory, free_memory_of_all, this_machine
from dycoke_cli.resources import in_words, main_memory

CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as the kernel writes them: 8 GB available, no limits; a GPU has no driver."""
    (tmp_path / "meminfo").write_text(
        "MemTotal: 16000000 kB\nMemFree: 1000 kB\nMemAvailable: 8000000 kB\nBuffers: 0 kB\n"
        "Cached: 0 kB\nShmem: 0 kB\nActive: 0 kB\nInactive: 0 kB\n"
    )
    (tmp_path / "cgroup").write_text("0::/user/job\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "_MOUNTED", tmp_path / "fs")
    monkeypatch.setenv("PATH", str(tmp_path))
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
    gpus(monkeypatch, 3 * GB, 4 * GB)
    assert free_memory_of_all() == 7 * GB + 8_000_000 * 1024


def test_in_words() -> None:
    assert in_words(19_010_000_000, 24_400_000_000) == "needs about 19 GB, 24 GB free"
    assert in_words(9_440_000_000, 500_000_000) == "needs about 9.4 GB, 0.5 GB free"


def gpus(monkeypatch: pytest.MonkeyPatch, *free: int) -> None:
    """This machine has these GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (free[gpu], 80 * GB))


def test_no_driver(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", None)  # isn't called
    assert this_machine().gpu_bytes == ()


def test_a_driver_without_its_program(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "kfd").touch()
    monkeypatch.setattr(devices, "_DRIVERS", [str(system / "kfd")])
    gpus(monkeypatch, 3 * GB)
    assert this_machine().gpu_bytes == (3 * GB,)


def test_gpus(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "nvidia-smi").touch(mode=0o755)
    gpus(monkeypatch, 3 * GB, 4 * GB)
    assert this_machine().gpu_bytes == (3 * GB, 4 * GB)

    def busy(gpu: int) -> None:
        raise RuntimeError("CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(torch.cuda, "mem_get_info", busy)
    assert this_machine().gpu_bytes == ()


SEVEN = replace(CATALOG["llava-onevision-7b"], download_bytes=16 * GB)


@pytest.mark.parametrize(
    ("ram", "gpus", "place"),
    [
        (64 * GB, (24 * GB,), "gpu"),
        (64 * GB, (10 * GB, 24 * GB), "ram"),  # a model is loaded onto the first
        (64 * GB, (), "ram"),
        (19 * GB, (19 * GB,), "no"),
        (None, (24 * GB,), "gpu"),
        (None, (8 * GB,), "no"),
        (None, (), None),
    ],
)
def test_where_a_model_fits(ram: Any, gpus: Any, place: str | None) -> None:
    assert SEVEN.fits(FreeMemory(ram, gpus)) == place


def test_sixteen_bits_a_parameter_where_the_download_is_unknown() -> None:
    unknown = replace(SEVEN, download_bytes=None, parameters=8 * GB)
    assert unknown.fits(FreeMemory(19 * GB, ())) == "no"
    assert unknown.fits(FreeMemory(20 * GB, ())) == "ram"
    assert unknown.fits(FreeMemory(20 * GB, (8 * GB,))) == "ram"
    assert replace(unknown, parameters=None).fits(FreeMemory(20 * GB, ())) is None

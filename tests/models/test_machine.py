"""What is free on this machine, and what fits: from files that the test makes."""

from dataclasses import replace

import psutil
import pytest
import torch

from dycoke_cli import resources
from dycoke_cli.models import devices
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.devices import FreeMemory, Target, this_machine

GB = 10**9


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system with 8 GiB to spare, no limit and no GPU."""
    (tmp_path / "meminfo").write_text(
        "MemTotal: 16777216 kB\nMemFree: 1000 kB\nMemAvailable: 8388608 kB\nBuffers: 0 kB\n"
        "Cached: 0 kB\nShmem: 0 kB\nActive: 0 kB\nInactive: 0 kB\n"
    )
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "_MOUNTED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    return tmp_path


def driver(system):
    (system / "nvidia-smi").touch(mode=0o755)


def test_no_driver(system, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", None)  # isn't called
    assert this_machine().gpu_bytes == ()


def test_a_driver_without_its_program(system, monkeypatch):
    (system / "kfd").touch()
    monkeypatch.setattr(devices, "_DRIVERS", [str(system / "kfd")])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (3 * GB, 80 * GB))
    assert this_machine().gpu_bytes == (3 * GB,)


def test_an_estimate_is_for_the_gpu_that_a_model_is_loaded_onto():
    busy_first = FreeMemory(8 * GB, (3 * GB, 40 * GB))
    assert Target.of("auto", busy_first) == Target("cuda", 3 * GB, 8 * GB)
    assert Target.of("cuda", busy_first) == Target("cuda", 3 * GB)
    assert Target.of("cuda:1", busy_first) == Target("cuda", 40 * GB)
    assert Target.of("cuda:2", busy_first) == Target("cuda", None)


def test_gpus(system, monkeypatch):
    driver(system)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: ((3 + gpu) * GB, 80 * GB))
    assert this_machine().gpu_bytes == (3 * GB, 4 * GB)


def test_a_gpu_that_cannot_be_asked(system, monkeypatch):
    driver(system)

    def busy(gpu):
        raise RuntimeError("CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
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
def test_where_a_model_fits(ram, gpus, place):
    assert SEVEN.fits(FreeMemory(ram, gpus)) == place


def test_sixteen_bits_a_parameter_where_the_download_is_unknown():
    unknown = replace(SEVEN, download_bytes=None, parameters=8 * GB)
    assert unknown.fits(FreeMemory(19 * GB, ())) == "no"
    assert unknown.fits(FreeMemory(20 * GB, ())) == "ram"
    assert replace(unknown, parameters=None).fits(FreeMemory(20 * GB, ())) is None

"""The device that an estimate is for, from what is typed and what is free."""

from __future__ import annotations

import sys

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.models.free_memory import FreeMemory, Target
from dycoke_cli.resources import parse_size

GB = 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * GB),
        ("8 gb", 8 * GB),
        ("24GiB", 24 * 1024**3),
        ("0.5TB", 500 * GB),
        ("512MiB", 512 * 1024**2),
        ("900 kB", 900_000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["8", "GB", "8G", "-8GB", "0GB", "8 GB free", "1e3GB", "8,5GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="isn't a size of memory: write 8GB or 24GiB"):
        parse_size(text)


HERE = FreeMemory(16 * GB, (24 * GB, 80 * GB))


@pytest.mark.parametrize(
    ("device", "machine", "target"),
    [
        ("auto", HERE, Target("cuda", 24 * GB, 16 * GB)),
        ("auto", FreeMemory(16 * GB, ()), Target("cpu", 16 * GB)),
        ("cuda", FreeMemory(16 * GB, ()), Target("cuda", None)),
        ("cuda:0", HERE, Target("cuda", 24 * GB)),
        ("cuda:7", HERE, Target("cuda", None)),
        ("mps", HERE, Target("mps", None)),
        ("cpu", HERE, Target("cpu", 16 * GB)),
    ],
)
def test_devices(
    device: str, machine: FreeMemory, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert Target.of(device, machine) == target

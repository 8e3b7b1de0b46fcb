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
    ("device", "memory", "machine", "target"),
    [
        ("auto", None, HERE, Target("cuda", 24 * GB, 16 * GB)),
        ("auto", 8 * GB, HERE, Target("cuda", 8 * GB)),
        ("auto", None, FreeMemory(16 * GB, ()), Target("cpu", 16 * GB)),
        ("auto", 8 * GB, FreeMemory(16 * GB, ()), Target("cpu", 8 * GB)),
        ("cuda", None, FreeMemory(16 * GB, ()), Target("cuda", None)),
        ("cuda", 8 * GB, FreeMemory(16 * GB, ()), Target("cuda", 8 * GB)),
        ("cuda:0", None, HERE, Target("cuda", 24 * GB)),
        ("cuda:7", None, HERE, Target("cuda", None)),
        ("mps", None, HERE, Target("mps", None)),
        ("cpu", None, HERE, Target("cpu", 16 * GB)),
    ],
)
def test_devices(
    device: str, memory: int | None, machine: FreeMemory, target: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "platform", "linux")
    assert Target.of(device, memory, machine) == target

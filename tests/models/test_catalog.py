"""The catalog of models, and the device that they are for."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import CATALOG, STATES
from dycoke_cli.models.devices import FreeMemory, Target
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.resources import parse_size
from tests.families.stock import NONE_ONLY
from tests.families.tiny import MAKERS

ROOT = Path(__file__).parents[2]
ENTRIES = [pytest.param(entry, id=name) for name, entry in CATALOG.items()]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_complete(entry):
    assert re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)*", entry.name)
    assert entry.state in STATES
    assert entry.note
    assert entry.name == "mini" or re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repo)
    assert entry.tokens_per_frame is None or entry.shape is None


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_fits_its_family(entry):
    family = FAMILIES[entry.family]
    assert not family.only_none
    # "config-tested" is what tests/families proves.
    assert entry.family in MAKERS
    assert entry.family not in NONE_ONLY


def test_a_repository_has_one_name():
    repos = [entry.repo for entry in CATALOG.values()]
    assert len(set(repos)) == len(repos)


def test_downloads_are_no_smaller_than_sixteen_bits_a_parameter():
    for entry in CATALOG.values():
        if entry.download_bytes:
            assert entry.download_bytes >= 1.99 * entry.parameters, entry.name


def test_the_changelog_counts_the_families_right():
    text = " ".join((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split())
    (there,) = re.findall(r"Families of video LLMs on stock classes, (\d+) by `model_type`", text)
    (listed,) = re.findall(r"`dycoke models` lists checkpoints of (\d+) of these", text)
    assert int(there) == len(FAMILIES)
    assert int(listed) == len({entry.family for entry in CATALOG.values() if entry.name != "mini"})


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
    with pytest.raises(UsageError, match="isn't a size of memory: add the unit, as in 8GB"):
        parse_size(text)


HERE = FreeMemory(16 * GB, (24 * GB, 80 * GB))


@pytest.mark.parametrize(
    ("device", "machine", "target"),
    [
        ("auto", HERE, Target("cuda", 24 * GB, 16 * GB)),
        # The GPU that a model is loaded onto, not the one with most room.
        ("auto", FreeMemory(8 * GB, (3 * GB, 40 * GB)), Target("cuda", 3 * GB, 8 * GB)),
        ("auto", FreeMemory(16 * GB, ()), Target("cpu", 16 * GB)),
        ("cuda", FreeMemory(16 * GB, ()), Target("cuda", None)),
        ("cuda", HERE, Target("cuda", 24 * GB)),
        ("cuda:0", HERE, Target("cuda", 24 * GB)),
        ("cuda:1", HERE, Target("cuda", 80 * GB)),
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

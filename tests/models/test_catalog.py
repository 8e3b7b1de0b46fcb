"""The catalog agrees with the families, and with what tests/families runs."""

import re
from pathlib import Path

import pytest

from dycoke_cli.models.catalog import CATALOG, STATES
from dycoke_cli.models.families import FAMILIES
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


def test_sizes_grow_within_a_family():
    before = {}
    for entry in CATALOG.values():
        if entry.parameters is not None and entry.name != "mini":
            generation = entry.family, entry.name.split("-")[0]
            assert entry.parameters >= before.get(generation, 0), entry.name
            before[generation] = entry.parameters


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

"""The recipe of conda-forge has the version and the requirements of pyproject.toml."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from dycoke_cli.version import __version__
from tests import release
from tests.pages import ROOT

RECIPE: Any = yaml.safe_load(release.RECIPE.read_text("utf-8"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NAMES = {"pytorch": "torch", "huggingface_hub": "huggingface-hub"}
"""Names of conda-forge that differ from those of the Python package index."""


def parsed(text: str) -> tuple[str, str]:
    name, _, limits = text.partition(" ")
    return NAMES.get(name, name), limits


def test_the_version() -> None:
    assert str(RECIPE["context"]["version"]) == __version__


def test_the_requirements() -> None:
    project = PYPROJECT["project"]
    needed = [Requirement(text) for text in project["dependencies"]]
    expected = {one.name: str(one.specifier) for one in needed}
    expected["python"] = project["requires-python"]
    run = RECIPE["requirements"]["run"]
    assert dict(map(parsed, run)) == expected
    assert len(run) == len(expected)


def test_what_builds_it() -> None:
    host = dict(map(parsed, RECIPE["requirements"]["host"]))
    (backend,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    assert host[backend.name] == str(backend.specifier)
    (command,) = RECIPE["build"]["python"]["entry_points"]
    name, target = re.split(r" = ", command)
    assert PYPROJECT["project"]["scripts"] == {name: target}


def test_the_one_of_a_release_has_its_source(tmp_path: Path) -> None:
    sdist = tmp_path / "dycoke_cli-1.2.3.tar.gz"
    sdist.write_bytes(b"sources")
    release.write_recipes(sdist)
    written = yaml.safe_load((tmp_path / release.RECIPE.name).read_text("utf-8"))
    address = "https://files.pythonhosted.org/packages/source/d/dycoke-cli/dycoke_cli-1.2.3.tar.gz"
    digest = hashlib.sha256(b"sources").hexdigest()
    assert written == {**RECIPE, "source": {"url": address, "sha256": digest}}

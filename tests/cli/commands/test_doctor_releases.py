"""The list of tested releases: `make` installs it, and what is installed is compared with it."""

from __future__ import annotations

import platform
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dycoke_cli.cli.commands import doctor

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = {Requirement(text).name for text in PROJECT["dependencies"]}


def warnings(monkeypatch: pytest.MonkeyPatch, **installed: str) -> list[str]:
    """Warnings if exactly these releases are installed."""

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "version", version)
    return [*doctor.untested()]


def test_newer_and_older_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = next(
        str(r.specifier)
        for r in map(Requirement, requires("dycoke-cli") or ())
        if r.name == "torch"
    )
    assert warnings(monkeypatch, av="99.0.1", torch="2.7.1", transformers="5.23.0") == [
        f"torch 2.7.1 isn't supported: {bound}",
        f"av 99.0.1 is newer than {doctor._newest_tested()['av']}, the newest that was tested",
    ]


def test_a_patch_release_is_a_tested_one(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = doctor._newest_tested()["filelock"]
    patch = f"{newest.major}.{newest.minor}.{newest.micro + 1}"
    assert warnings(monkeypatch, filelock=patch) == []
    minor = f"{newest.major}.{newest.minor + 1}"
    assert len(warnings(monkeypatch, filelock=minor)) == 1


def test_a_build_of_a_tested_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's index has 2.15.0+cpu."""
    newest = doctor._newest_tested()["torch"]
    assert warnings(monkeypatch, torch=f"{newest}+cpu") == []


def test_a_newer_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0rc1")
    newest = PROJECT["classifiers"][-2].rpartition(" ")[2]
    sentence = f"Python 3.99.0rc1 is newer than {newest}, the newest that was tested"
    assert warnings(monkeypatch) == [sentence]


def test_every_dependency_is_in_the_one_list_that_make_installs() -> None:
    extras = PROJECT["optional-dependencies"]
    optional = {Requirement(text).name for name in extras if name != "dev" for text in extras[name]}
    assert set(doctor._newest_tested()) >= DEPENDENCIES | optional
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "--constraint src/dycoke_cli/tested.txt\n" in constraints
    pinned = re.findall(r"^([\w.-]+)==", constraints, re.MULTILINE)
    assert not set(pinned) & set(doctor._newest_tested())

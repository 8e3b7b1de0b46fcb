"""The list of tested releases: `make` installs it, and what is installed is compared with it."""

from __future__ import annotations

import platform
import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dycoke_cli import tested

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = {Requirement(text).name for text in PROJECT["dependencies"]}


def found(monkeypatch: pytest.MonkeyPatch, **installed: str) -> list[str]:
    """What is said of packages in these releases; no other is installed."""

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(tested, "version", version)
    return [*tested.untested()]


def test_newer_and_older_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, av="99.0.1", torch="2.7.1", transformers="5.23.0") == [
        "torch 2.7.1 isn't supported: >=2.8",
        f"av 99.0.1 is newer than {tested._newest()['av']}, the newest that was tested",
    ]


def test_a_build_of_a_tested_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's index has 2.15.0+cpu."""
    newest = tested._newest()["torch"]
    assert found(monkeypatch, torch=f"{newest}+cpu") == []


def test_a_newer_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0rc1")
    newest = PROJECT["classifiers"][-2].rpartition(" ")[2]
    said = f"Python 3.99.0rc1 is newer than {newest}, the newest that was tested"
    assert found(monkeypatch) == [said]


def test_every_dependency_is_in_the_one_list_that_make_installs() -> None:
    extras = PROJECT["optional-dependencies"]
    optional = {Requirement(text).name for name in extras if name != "dev" for text in extras[name]}
    assert set(tested._newest()) >= DEPENDENCIES | optional
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "--constraint src/dycoke_cli/tested.txt\n" in constraints
    pinned = re.findall(r"^([\w.-]+)==", constraints, re.MULTILINE)
    assert not set(pinned) & set(tested._newest())

"""An extra is named with a command that installs it, whatever this package was installed from."""

from __future__ import annotations

import shlex
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dycoke_cli import extras

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = {name: texts for name, texts in PROJECT["optional-dependencies"].items() if name != "dev"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_of_an_extra(extra: str) -> None:
    python, *command = shlex.split(extras.how_to_install(extra))
    assert python == sys.executable
    assert command[:3] == ["-m", "pip", "install"]
    assert {*map(Requirement, command[3:])} == {*map(Requirement, EXTRAS[extra])}


def test_sources_that_were_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", unknown)
    assert shlex.split(extras.how_to_install("ray"))[-1] == "dycoke-cli[ray]"


def test_which_extras_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def known(name: str) -> str:
        asked.append(name)
        if name == "bitsandbytes":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(extras, "version", known)
    assert extras.installed_extras() == {extra: extra != "big" for extra in EXTRAS}
    names = {Requirement(text).name for texts in EXTRAS.values() for text in texts}
    assert {*asked} == names

"""An extra is named with a command that installs it, whatever this package was installed from."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dycoke_cli import extras
from tests.pages import section

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = {name: texts for name, texts in PROJECT["optional-dependencies"].items() if name != "dev"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_of_an_extra(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: ModuleSpec(name, None))
    python, *command = shlex.split(extras.how_to_install(extra))
    assert python == sys.executable
    assert command[:3] == ["-m", "pip", "install"]
    assert {*map(Requirement, command[3:])} == {*map(Requirement, EXTRAS[extra])}


def test_the_page_has_each_extra_with_the_releases_that_were_tested() -> None:
    root = Path(__file__).parents[1]
    page = section("models.md", "Extras")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE))
    assert {*rows} == {*EXTRAS}
    tested = (root / "src" / "dycoke_cli" / "tested.txt").read_text(encoding="utf-8")
    for name, release in re.findall(r"([\w-]+) (\d[\d.]*\d)", " ".join(rows.values())):
        assert f"{name}=={release}\n" in tested or name == "vLLM"


def test_sources_that_were_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", unknown)
    flag, checkout = shlex.split(extras.how_to_install("ray"))[-2:]
    assert (flag, checkout) == ("--editable", f"{Path(extras.__file__).parents[2]}[ray]")


def no_pip(monkeypatch: pytest.MonkeyPatch, prefix: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(extras, "find_spec", lambda name: None)


def test_an_environment_of_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pip(monkeypatch, tmp_path / ".venv")
    begin = f"uv pip install --python {sys.executable}"
    assert extras.how_to_install("smolvlm") == f"{begin} 'num2words>=0.5.14'"
    assert extras.how_to_upgrade("transformers") == f"{begin} --upgrade transformers"


def test_a_project_of_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pip(monkeypatch, tmp_path / ".venv")
    (tmp_path / "uv.lock").touch()
    asked = extras.how_to_install("smolvlm")
    assert asked == f"uv add --project {tmp_path} 'num2words>=0.5.14'"
    asked = extras.how_to_upgrade("transformers")
    assert asked == f"uv sync --project {tmp_path} --upgrade-package transformers"


def test_an_environment_of_pipx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "pipx_metadata.json").touch()
    assert extras.how_to_install("smolvlm") == "pipx inject dycoke-cli 'num2words>=0.5.14'"
    asked = extras.how_to_upgrade("transformers")
    assert asked == "pipx runpip dycoke-cli install --upgrade transformers"


def test_shells_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.os, "name", "nt")
    assert extras._command(["C:\\Python\\python.exe", "-m", "pip", "ray[data]>=2.60"]) == (
        'C:\\Python\\python.exe -m pip "ray[data]>=2.60"'
    )


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


def test_each_extra_says_what_it_is_for() -> None:
    assert {*extras.PURPOSES} == {*EXTRAS}
